//! Secrets in files: what a `_FILE` twin names.

use std::io;
use std::path::Path;

use super::problems::{Fault, quoted};

/// Reads the file that a `_FILE` twin names.
pub type Files<'a> = &'a dyn Fn(&Path) -> io::Result<Vec<u8>>;

/// Largest file that a `_FILE` twin may name, in bytes: a bundle of authorities is far below.
const FILE_MAX: usize = 1 << 20;

/// The value in the file of that path.
pub(super) fn value(path: &str, files: Files<'_>) -> Result<String, Fault> {
    let shown = shown_path(path);
    match files(Path::new(path)) {
        Ok(bytes) => {
            text(bytes).map_err(|fault| Fault::new(format!("names {shown}, which {}", fault.what), fault.remedy))
        }
        Err(error) => {
            // The kind only: an error's own text may come from anywhere.
            let what = format!("names {shown}, which cannot be read: {}", error.kind());
            let remedy = "give the path of a readable file that holds the value";
            Err(Fault::new(what, remedy))
        }
    }
}

/// The text of such a file without its one trailing newline.
fn text(bytes: Vec<u8>) -> Result<String, Fault> {
    if bytes.len() > FILE_MAX {
        return Err(Fault::new("is larger than 1MiB", "name a smaller file"));
    }
    let Ok(mut text) = String::from_utf8(bytes) else {
        return Err(Fault::new("is not UTF-8", "write it in UTF-8"));
    };
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.contains('\0') {
        return Err(Fault::new("holds a NUL", "remove it"));
    }
    if text.is_empty() {
        return Err(Fault::new("is empty", "write the value into it"));
    }
    Ok(text)
}

/// A path as a problem may show it: a secret pasted instead of a path does not look like one.
fn shown_path(path: &str) -> String {
    let looks_like_path = ["/", "./", "../"].iter().any(|start| path.starts_with(start));
    if looks_like_path { quoted(path, false) } else { "something that is no absolute path (not shown)".to_owned() }
}
