//! Columns of text: as wide as what stands in them, numbers to the right.

use std::fmt::Write as _;

/// How a column stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// Writes heads and rows below each other, two spaces between the columns and nothing at the ends of lines.
pub(super) fn write<const N: usize>(page: &mut String, heads: [(&str, Align); N], rows: &[[String; N]]) {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([heads[column].0.chars().count()]).max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut line = |cells: [&str; N]| {
        let mut text = String::new();
        for ((cell, width), (_, align)) in cells.iter().zip(widths).zip(heads) {
            // Writing to a String cannot fail.
            let _ = match align {
                Align::Left => write!(text, "  {cell:<width$}"),
                Align::Right => write!(text, "  {cell:>width$}"),
            };
        }
        let _ = writeln!(page, "{}", text.trim_end());
    };
    line(heads.map(|(head, _)| head));
    for row in rows {
        line(std::array::from_fn(|column| row[column].as_str()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_stands_in_them() {
        let mut page = String::new();
        let rows = [["a", "1", "x"], ["longer", "12345678", ""]].map(|row| row.map(str::to_owned));
        write(&mut page, [("name", Align::Left), ("count", Align::Right), ("note", Align::Left)], &rows);
        assert_eq!(page, "  name       count  note\n  a              1  x\n  longer  12345678\n");
    }
}
