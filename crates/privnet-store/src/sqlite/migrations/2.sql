-- An operation is about a network or about an instance, either of which may be gone. One that is about an
-- instance waits for whatever ports the instance has: there is nothing of it in the wait columns.

CREATE TABLE operations_of_both (
    id BLOB PRIMARY KEY,
    kind TEXT NOT NULL,
    network BLOB,
    instance BLOB,
    created_at_ms INTEGER NOT NULL,
    state TEXT NOT NULL,
    wait_network BLOB,
    wait_generation INTEGER,
    wait_host BLOB,
    wait_mac INTEGER,
    deadline_ms INTEGER,
    reason TEXT,
    message TEXT,
    CHECK ((network IS NULL) <> (instance IS NULL))
) STRICT, WITHOUT ROWID;

INSERT INTO operations_of_both
SELECT id, kind, network, NULL, created_at_ms, state,
    wait_network, wait_generation, wait_host, wait_mac, deadline_ms, reason, message
FROM operations;

DROP TABLE operations;

ALTER TABLE operations_of_both RENAME TO operations;
