//! Generated pairs, row by row, so that a table can page, filter and sort them without reading them all.

use rusqlite::{Connection, Transaction, params};
use spec::{GeneratedPair, PairSort, PairsPage, PairsQuery};

use super::{Result, Store, StoreError, format};

const MOST_ROWS: u32 = 200;
const USUAL_ROWS: u32 = 50;

impl Store {
    /// All finished pairs of a run, by row of the corpus. Refuses where one cannot be read.
    pub fn all_pairs(&self, run: i64) -> Result<Vec<GeneratedPair>> {
        let pairs = self.stored_pairs(run)?.into_iter();
        pairs
            .map(|pair| pair.map_err(|bad| StoreError::Unreadable { what: bad.name(run), problem: bad.problem }))
            .collect()
    }

    /// Those of a run's finished pairs that can be read, by row of the corpus.
    pub fn readable_pairs(&self, run: i64) -> Result<Vec<GeneratedPair>> {
        Ok(self.stored_pairs(run)?.into_iter().flatten().collect())
    }

    fn stored_pairs(&self, run: i64) -> Result<Vec<StoredPair>> {
        let query = "SELECT row, pair, format FROM pairs WHERE run = ?1 ORDER BY row";
        self.read(|connection| rows(connection, query, params![run]))
    }

    pub fn pairs(&self, query: &PairsQuery) -> Result<PairsPage> {
        let limit = if query.limit == 0 { USUAL_ROWS } else { query.limit.min(MOST_ROWS) };
        let tag = match query.tag.as_str() {
            "" => String::new(),
            "none" => " ".to_owned(),
            tag => format!(" {tag} "),
        };
        let matching = if query.tag == "none" { "tags = ?2" } else { "(?2 = '' OR instr(tags, ?2) > 0)" };
        let text = query.text.to_lowercase();
        // Rows break ties, so that pages neither repeat nor skip a pair.
        let order = match query.sort {
            PairSort::Index => "row",
            PairSort::RougeAscending => "rouge ASC NULLS LAST, row",
            PairSort::RougeDescending => "rouge DESC NULLS LAST, row",
            PairSort::CopiedDescending => "copied DESC, row",
            PairSort::LengthDescending => "words DESC, row",
        };
        let condition = format!("run = ?1 AND {matching} AND (?3 = '' OR instr(text, ?3) > 0)");
        self.read(|connection| {
            let total: i64 = connection
                .prepare_cached(&format!("SELECT count(*) FROM pairs WHERE {condition}"))?
                .query_row(params![query.run, tag, text], |row| row.get(0))?;
            let page =
                format!("SELECT row, pair, format FROM pairs WHERE {condition} ORDER BY {order} LIMIT ?4 OFFSET ?5");
            let pairs = rows(connection, &page, params![query.run, tag, text, limit, query.offset])?;
            let pairs = pairs.into_iter().map(|pair| pair.unwrap_or_else(Unreadable::shown)).collect();
            Ok(PairsPage { total: total.unsigned_abs(), pairs })
        })
    }
}

type StoredPair = Result<GeneratedPair, Unreadable>;

pub(super) struct Unreadable {
    /// Row of the corpus.
    index: u32,
    problem: String,
}

impl Unreadable {
    fn name(&self, run: i64) -> String {
        format!("the pair of row {} of run {run}", self.index)
    }

    /// In its place in a table.
    pub(super) fn shown(self) -> GeneratedPair {
        let response = format!("(This pair cannot be read: {}.)", self.problem);
        GeneratedPair { index: self.index, response, ..GeneratedPair::default() }
    }
}

/// The query gives row, pair and format.
pub(super) fn rows(connection: &Connection, query: &str, values: &[&dyn rusqlite::ToSql]) -> Result<Vec<StoredPair>> {
    let mut statement = connection.prepare_cached(query)?;
    let mut rows = statement.query(values)?;
    let mut pairs = Vec::new();
    while let Some(row) = rows.next()? {
        let index = row.get(0)?;
        let pair = format::read(row.get(2)?, row.get_ref(1)?.as_str().unwrap_or_default());
        pairs.push(pair.map_err(|problem| Unreadable { index, problem }));
    }
    Ok(pairs)
}

pub(super) fn insert(transaction: &Transaction<'_>, run: i64, pair: &GeneratedPair) -> Result<()> {
    let reference = pair.reference.as_deref().unwrap_or_default();
    let text = format!("{}\n{}\n{}", pair.generated, reference, pair.response).to_lowercase();
    let tags = pair.scores.tags.iter().fold(" ".to_owned(), |tags, tag| tags + tag.as_str() + " ");
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO pairs (run, row, pair, text, tags, rouge, copied, words, format)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            run,
            pair.index,
            format::write("the pair", pair)?.0,
            text,
            tags,
            pair.scores.rouge_l,
            pair.scores.copied_run,
            pair.scores.words,
            format::RECORD
        ])?;
    Ok(())
}
