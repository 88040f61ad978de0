//! HTTP API, operations, and the sync service.
