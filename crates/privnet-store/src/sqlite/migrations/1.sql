-- The tables are in the order of their references. A reference is checked at the end of a
-- transaction, so that a row may be replaced while others refer to it.

CREATE TABLE hosts (
    id BLOB PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    vtep TEXT NOT NULL UNIQUE,
    underlay_mtu_bytes INTEGER NOT NULL,
    version TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE networks (
    id BLOB PRIMARY KEY,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    start_ip INTEGER,
    end_ip INTEGER,
    netmask INTEGER,
    routers TEXT,
    dns_servers TEXT,
    ntp_servers TEXT,
    domain_search TEXT,
    labels TEXT,
    vni INTEGER NOT NULL UNIQUE,
    generation INTEGER NOT NULL,
    last_address INTEGER,
    created_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE instances (
    id BLOB PRIMARY KEY,
    name TEXT NOT NULL,
    host BLOB NOT NULL REFERENCES hosts DEFERRABLE INITIALLY DEFERRED,
    port_kind TEXT NOT NULL,
    netns TEXT,
    created_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX instances_of_host ON instances (host);

CREATE TABLE ports (
    network BLOB NOT NULL REFERENCES networks DEFERRABLE INITIALLY DEFERRED,
    instance BLOB NOT NULL REFERENCES instances DEFERRABLE INITIALLY DEFERRED,
    mac INTEGER NOT NULL UNIQUE,
    address INTEGER,
    lease_kind TEXT,
    device TEXT NOT NULL,
    changed INTEGER NOT NULL,
    PRIMARY KEY (network, instance),
    UNIQUE (network, address),
    UNIQUE (instance, device)
) STRICT, WITHOUT ROWID;

-- A network may be gone while an operation or a carriage still names it.

CREATE TABLE operations (
    id BLOB PRIMARY KEY,
    kind TEXT NOT NULL,
    network BLOB NOT NULL,
    created_at_ms INTEGER NOT NULL,
    state TEXT NOT NULL,
    wait_network BLOB,
    wait_generation INTEGER,
    wait_host BLOB,
    wait_mac INTEGER,
    deadline_ms INTEGER,
    reason TEXT,
    message TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE carriages (
    host BLOB NOT NULL REFERENCES hosts DEFERRABLE INITIALLY DEFERRED,
    network BLOB NOT NULL,
    vni INTEGER NOT NULL,
    PRIMARY KEY (host, network)
) STRICT, WITHOUT ROWID;

CREATE INDEX carriages_of_vni ON carriages (vni);

-- A VNI belongs to one network for as long as that network is there or a host may carry it.

CREATE TRIGGER network_takes_free_vni BEFORE INSERT ON networks
WHEN EXISTS (SELECT 1 FROM carriages WHERE vni = NEW.vni AND network <> NEW.id)
BEGIN
    SELECT RAISE(ABORT, 'a host may still carry another network with this VNI');
END;

CREATE TRIGGER carriage_takes_its_networks_vni BEFORE INSERT ON carriages
WHEN EXISTS (SELECT 1 FROM networks WHERE vni = NEW.vni AND id <> NEW.network)
    OR EXISTS (SELECT 1 FROM carriages WHERE vni = NEW.vni AND network <> NEW.network)
BEGIN
    SELECT RAISE(ABORT, 'another network has this VNI');
END;
