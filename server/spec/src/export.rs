//! Which pairs are taken away, in which rows and files. An address holds it as its query.

use crate::setting::Value as _;
use crate::{AppError, FileType, PairFilter, RowShape};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportQuery {
    pub rows: RowShape,
    pub file: FileType,
    /// Without the pairs that were dropped, by a decision or by the settings of the curate cell.
    pub kept_only: bool,
    pub filter: PairFilter,
}

impl Default for ExportQuery {
    fn default() -> Self {
        Self { rows: RowShape::Pairs, file: FileType::Jsonl, kept_only: false, filter: PairFilter::default() }
    }
}

impl ExportQuery {
    /// Names in an address, beside the filter's own.
    pub const ROWS: &str = "rows";
    pub const FILE: &str = "file";
    pub const KEPT: &str = "kept";

    /// Reads one name and value of an address. Shape and type are refused where they are not known, since another file
    /// than the one that was asked for helps nobody.
    pub fn read_query(&mut self, name: &str, value: &str) -> Result<(), AppError> {
        match name {
            Self::ROWS => {
                self.rows = RowShape::read(value)
                    .ok_or_else(|| unknown("row shape", value, &names(RowShape::ALL, RowShape::as_str)))?
            }
            Self::FILE => {
                self.file = FileType::read(value)
                    .ok_or_else(|| unknown("file type", value, &names(FileType::ALL, FileType::as_str)))?
            }
            Self::KEPT => self.kept_only = matches!(value, "1" | "true" | "on"),
            _ => self.filter.read_query(name, value),
        }
        Ok(())
    }
}

fn names<T: Copy>(all: &[T], name: fn(T) -> &'static str) -> String {
    all.iter().copied().map(name).collect::<Vec<_>>().join(", ")
}

fn unknown(what: &str, value: &str, known: &str) -> AppError {
    AppError::invalid_setting(format!("There is no {what} {value:?}."), format!("Choose one of: {known}."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DecisionFilter, ErrorCode};

    #[test]
    fn an_address_names_shape_type_and_filter_and_what_it_does_not_name_has_its_default() {
        let mut query = ExportQuery::default();
        for (name, value) in
            [("rows", "alpaca"), ("file", "parquet"), ("kept", "1"), ("decision", "edited"), ("colour", "red")]
        {
            query.read_query(name, value).unwrap();
        }
        let filter = PairFilter { decision: DecisionFilter::Edited, ..PairFilter::default() };
        let expected = ExportQuery { rows: RowShape::Alpaca, file: FileType::Parquet, kept_only: true, filter };
        assert_eq!(query, expected);
    }

    #[test]
    fn an_unknown_shape_or_type_is_refused_with_those_there_are() {
        for (name, value, known) in [("rows", "xml", "prompt_completion"), ("file", "docx", "parquet")] {
            let error = ExportQuery::default().read_query(name, value).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidSetting);
            assert!(error.message.contains(value) && error.hint.contains(known), "{error:?}");
        }
    }
}
