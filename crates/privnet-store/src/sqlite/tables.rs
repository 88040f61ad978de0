//! Each kind of record as a row. In each table, the columns, what is written and what is read stand
//! in the same order.

mod columns;
mod hosts;
mod instances;
mod members;
mod networks;
mod operations;
