"""What records say, for people: model card and page.  Only reads; nothing but cli imports it."""
