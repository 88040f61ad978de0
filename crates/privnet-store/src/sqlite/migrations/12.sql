-- Instances whose ports are taps: who may open them, and whether they have several queues.

ALTER TABLE instances ADD COLUMN tap_owner TEXT;
ALTER TABLE instances ADD COLUMN tap_group TEXT;
ALTER TABLE instances ADD COLUMN tap_is_multi_queue INTEGER;
