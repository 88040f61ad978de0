//! What people run on a segment, and on what it runs: each works as on a switch of one's own.

mod underlay;
