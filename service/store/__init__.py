"""What the service remembers: tickets, corrections, reviews, webhooks, keys; SQLite or PostgreSQL."""
