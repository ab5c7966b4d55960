use super::*;

#[test]
fn the_bundled_table_can_be_read() {
    let table = Table::parse(BUNDLED).unwrap();
    assert!(table.as_of.is_some());
}
