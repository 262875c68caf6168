//! Parquet: texts, numbers and flags as columns, lists as lists. Written a row group at a time, so that memory does not
//! grow with the number of pairs.

use std::io::{Error, Result, Write};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::builder::{
    ArrayBuilder, BooleanBuilder, Float64Builder, Int64Builder, ListBuilder, StringBuilder, StructBuilder,
};
use arrow_schema::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use super::RowWriter;
use super::rows::{Column, Kind, Value};

/// Rows that are turned into columns at a time.
const BATCH: usize = 256;
/// What a row group may hold in memory before it is written.
const GROUP_BYTES: usize = 16 << 20;

pub struct Parquet<W: Write + Send> {
    schema: SchemaRef,
    columns: Vec<Building>,
    rows: usize,
    writer: ArrowWriter<W>,
}

enum Building {
    Text(StringBuilder),
    Whole(Int64Builder),
    Number(Float64Builder),
    Flag(BooleanBuilder),
    Texts(ListBuilder<StringBuilder>),
    Turns(ListBuilder<StructBuilder>),
}

impl<W: Write + Send> Parquet<W> {
    pub fn new(columns: &[&Column], out: W) -> Result<Self> {
        let fields = columns.iter().map(|column| Field::new(column.name, data_type(column.kind), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(concat!("backtranslate ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let writer = ArrowWriter::try_new(out, Arc::clone(&schema), Some(properties)).map_err(Error::other)?;
        let columns = columns.iter().map(|column| Building::new(column.kind)).collect();
        Ok(Self { schema, columns, rows: 0, writer })
    }

    fn write_batch(&mut self) -> Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        self.rows = 0;
        let arrays = self.columns.iter_mut().map(Building::finish).collect();
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays).map_err(Error::other)?;
        self.writer.write(&batch).map_err(Error::other)?;
        if self.writer.memory_size() >= GROUP_BYTES {
            self.writer.flush().map_err(Error::other)?;
        }
        Ok(())
    }
}

impl<W: Write + Send> RowWriter for Parquet<W> {
    fn row(&mut self, values: &[Value<'_>]) -> Result<()> {
        for (column, value) in self.columns.iter_mut().zip(values) {
            column.append(value)?;
        }
        self.rows += 1;
        if self.rows < BATCH { Ok(()) } else { self.write_batch() }
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.write_batch()?;
        self.writer.finish().map_err(Error::other)?;
        self.writer.inner_mut().flush()
    }
}

impl Building {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Text => Self::Text(StringBuilder::new()),
            Kind::Whole => Self::Whole(Int64Builder::new()),
            Kind::Number => Self::Number(Float64Builder::new()),
            Kind::Flag => Self::Flag(BooleanBuilder::new()),
            Kind::Texts => Self::Texts(ListBuilder::new(StringBuilder::new()).with_field(element(DataType::Utf8))),
            Kind::Turns(who, what) => {
                let fields = turn(who, what);
                let values = StructBuilder::from_fields(fields.clone(), 2 * BATCH);
                Self::Turns(ListBuilder::new(values).with_field(element(DataType::Struct(fields))))
            }
        }
    }

    fn append(&mut self, value: &Value<'_>) -> Result<()> {
        match (self, value) {
            (Self::Text(column), Value::Text(text)) => column.append_value(text),
            (Self::Text(column), Value::Null) => column.append_null(),
            (Self::Whole(column), Value::Whole(number)) => {
                column.append_value(i64::try_from(*number).unwrap_or(i64::MAX))
            }
            (Self::Whole(column), Value::Null) => column.append_null(),
            (Self::Number(column), Value::Number(number)) => column.append_value(*number),
            (Self::Number(column), Value::Null) => column.append_null(),
            (Self::Flag(column), Value::Flag(flag)) => column.append_value(*flag),
            (Self::Flag(column), Value::Null) => column.append_null(),
            (Self::Texts(column), Value::Texts(texts)) => column.append_value(texts.iter().map(Some)),
            (Self::Turns(column), Value::Turns(turns)) => {
                for turn in &turns.turns {
                    for (place, text) in turn.iter().enumerate() {
                        let field = column.values().field_builder::<StringBuilder>(place);
                        field.ok_or_else(mismatch)?.append_value(text);
                    }
                    column.values().append(true);
                }
                column.append(true);
            }
            _ => return Err(mismatch()),
        }
        Ok(())
    }

    fn finish(&mut self) -> arrow_array::ArrayRef {
        match self {
            Self::Text(column) => ArrayBuilder::finish(column),
            Self::Whole(column) => ArrayBuilder::finish(column),
            Self::Number(column) => ArrayBuilder::finish(column),
            Self::Flag(column) => ArrayBuilder::finish(column),
            Self::Texts(column) => ArrayBuilder::finish(column),
            Self::Turns(column) => ArrayBuilder::finish(column),
        }
    }
}

fn mismatch() -> Error {
    Error::other("a value is of another kind than its column")
}

fn data_type(kind: Kind) -> DataType {
    match kind {
        Kind::Text => DataType::Utf8,
        Kind::Whole => DataType::Int64,
        Kind::Number => DataType::Float64,
        Kind::Flag => DataType::Boolean,
        Kind::Texts => DataType::List(element(DataType::Utf8)),
        Kind::Turns(who, what) => DataType::List(element(DataType::Struct(turn(who, what)))),
    }
}

/// As Parquet's specification names it.
fn element(data_type: DataType) -> FieldRef {
    Arc::new(Field::new("element", data_type, true))
}

fn turn(who: &str, what: &str) -> Fields {
    Fields::from(vec![Field::new(who, DataType::Utf8, true), Field::new(what, DataType::Utf8, true)])
}
