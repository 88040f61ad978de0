-- The keys of container runtimes are for one host each.

ALTER TABLE keys ADD COLUMN host BLOB REFERENCES hosts DEFERRABLE INITIALLY DEFERRED;
