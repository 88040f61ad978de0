//! Durable state: one schema, its SQLite implementation, and the test suite every implementation passes.
