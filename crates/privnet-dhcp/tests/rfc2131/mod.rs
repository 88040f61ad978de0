//! RFC 2131: Dynamic Host Configuration Protocol.

mod section_2;
mod section_3;
mod section_3_5;
mod section_4_1;
mod section_4_2;
mod section_4_3;
mod section_4_3_1;
mod section_4_3_2;
mod section_4_3_3;
mod section_4_3_4;
mod section_4_3_5;
mod section_4_4;
mod section_4_4_5;
mod table_3;
