-- Events that no organization reads, by whether there was a key: those that may be removed first are found, and
-- counted, without reading the others.

CREATE INDEX events_of_none ON events (key IS NOT NULL) WHERE organization IS NULL;
