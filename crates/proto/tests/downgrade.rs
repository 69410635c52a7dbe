//! The conversion to seven bits, held to what a real Postfix 3.7 sent to a server without 8BITMIME:
//! `tests/mime/NAME.8bit` came in, `NAME.7bit` went out, with `mime_nesting_limit = 5` and
//! `mime_boundary_length_limit = 30`.

use proto::mime::{Limits, downgrade};
use std::path::Path;

fn lines(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace("\r\n", "$\n")
}

#[test]
fn as_postfix_converts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mime");
    let limits = Limits { nesting: 5, boundary: 30, ..Limits::default() };
    let (mut seen, mut wrong) = (0, Vec::new());
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    for path in paths.iter().filter(|p| p.extension().is_some_and(|e| e == "8bit")) {
        seen += 1;
        let (given, expected) =
            (std::fs::read(path).unwrap(), std::fs::read(path.with_extension("7bit")).unwrap());
        let got = match downgrade::whole(&given, limits) {
            Ok(out) => lines(&out),
            Err(fault) => format!("{fault:?}"),
        };
        let expected = lines(&expected);
        if got != expected {
            let name = path.file_stem().unwrap().to_string_lossy();
            wrong
                .push(format!("== {name}: given\n{}\n-- Postfix\n{expected}\n-- here\n{got}", lines(&given)));
        }
    }
    assert!(seen > 40, "{seen} examples");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
