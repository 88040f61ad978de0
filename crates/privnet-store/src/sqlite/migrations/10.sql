-- Whether the host gives a port's device in the instance its address and routes. It was for the instance to do so.

ALTER TABLE ports ADD COLUMN is_configured INTEGER NOT NULL DEFAULT 0;
