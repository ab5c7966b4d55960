//! The types in the comments of the modules.

use std::{path::Path, process::Command};

use brigade_core::testing::skip_test;

use crate::npm;

const TYPESCRIPT: &str = "typescript@5.9.3";

#[test]
fn the_modules_have_no_type_errors() {
    let modules = match npm::install(TYPESCRIPT) {
        Ok(modules) => modules,
        Err(reason) => return skip_test("console types", &reason),
    };
    let options = ["--noEmit", "--allowJs", "--checkJs", "--skipLibCheck", "--target", "es2023", "--module", "esnext"];
    let libraries = ["--moduleResolution", "bundler", "--lib", "es2023,dom,dom.iterable"];
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../console/web/app.js");
    let mut node = Command::new("node");
    let checked = node.arg(modules.join("typescript/lib/tsc.js")).args(options).args(libraries).arg(page).output();
    let checked = checked.unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}
