"""Conversations, preferences, and questions with answers, in all common shapes."""
