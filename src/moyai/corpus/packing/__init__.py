"""From cleaned documents to token shards that are mapped into memory."""
