-- Instances say who makes them, whether they run, and what clients have said about them. Those that are there are
-- workloads that privnet has not made.

ALTER TABLE instances ADD COLUMN driver TEXT NOT NULL DEFAULT 'external';
ALTER TABLE instances ADD COLUMN power TEXT NOT NULL DEFAULT 'running';
ALTER TABLE instances ADD COLUMN reboots INTEGER NOT NULL DEFAULT 0;
ALTER TABLE instances ADD COLUMN is_protected INTEGER NOT NULL DEFAULT 0;
ALTER TABLE instances ADD COLUMN instance_type BLOB NOT NULL DEFAULT x'707269766e6540008000000000000001';
ALTER TABLE instances ADD COLUMN template BLOB NOT NULL DEFAULT x'707269766e6540008000000000000065';
ALTER TABLE instances ADD COLUMN disk_size_gib INTEGER NOT NULL DEFAULT 10;
ALTER TABLE instances ADD COLUMN public_ip TEXT NOT NULL DEFAULT 'none';
ALTER TABLE instances ADD COLUMN ssh_keys TEXT;
ALTER TABLE instances ADD COLUMN user_data TEXT;
ALTER TABLE instances ADD COLUMN labels TEXT;
ALTER TABLE instances ADD COLUMN has_secure_boot INTEGER NOT NULL DEFAULT 0;
ALTER TABLE instances ADD COLUMN has_tpm INTEGER NOT NULL DEFAULT 0;
