-- The audit log. Ids count up without gaps and times never go back, so that a time is found by its id and the
-- number of events is known. An event outlives all that it names.

CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    source TEXT NOT NULL,
    key BLOB,
    organization BLOB,
    call TEXT NOT NULL,
    path TEXT NOT NULL,
    status INTEGER NOT NULL,
    operation BLOB,
    message TEXT,
    times INTEGER NOT NULL
) STRICT;

CREATE INDEX events_of_organization ON events (organization) WHERE organization IS NOT NULL;
