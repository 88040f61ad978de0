-- Which signed request an operation answers, so that the same request is not carried out twice when it is sent again.

ALTER TABLE operations ADD COLUMN request BLOB CHECK (length(request) = 16);
ALTER TABLE operations ADD COLUMN requested_at_ms INTEGER CHECK ((requested_at_ms IS NULL) = (request IS NULL));
