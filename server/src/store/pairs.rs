//! Pairs, row by row, so that a table can page, filter and sort them without reading them all: those of a generate
//! run, and those that a report froze.

use rusqlite::{Connection, Rows, Transaction, named_params, params};
use spec::{Curation, Decision, GeneratedPair, MatchingPairs, PairFilter, PairSort, PairsPage, PairsQuery};

use super::{Result, Store, StoreError, curation, format};

const MOST_ROWS: u32 = 200;
const USUAL_ROWS: u32 = 50;

/// Where pairs are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairSource {
    /// By a generate run; what a person decided on them is joined in.
    Generated,
    /// By a report, which froze the decisions with them.
    Report,
}

impl PairSource {
    /// The pairs of run `:run` with the columns that filters and orders use.
    fn table(self) -> &'static str {
        match self {
            Self::Generated => {
                "SELECT row AS position, pair, pairs.format AS format, pairs.text || coalesce(curation.text, '') AS text,
                        tags, rouge, copied, words, coalesce(decision, '') AS decision, coalesce(edited, 0) AS edited,
                        curation, curation.format AS curation_format, CASE WHEN json_valid(pair) THEN coalesce(pair ->> '$.row', row + 1) END AS source_row
                 FROM pairs LEFT JOIN curation USING (run, row) WHERE run = :run"
            }
            Self::Report => {
                "SELECT position, pair, format, text, tags, rouge, copied, words, decision, edited,
                        NULL AS curation, NULL AS curation_format,
                        CASE WHEN json_valid(pair) THEN coalesce(pair ->> '$.row', (pair ->> '$.index') + 1) END AS source_row
                 FROM report_pairs WHERE run = :run"
            }
        }
    }

    /// From an index, without the texts.
    fn count(self) -> &'static str {
        match self {
            Self::Generated => "SELECT count(*) FROM pairs WHERE run = ?1",
            Self::Report => "SELECT count(*) FROM report_pairs WHERE run = ?1",
        }
    }
}

/// What a pair is ranked by.
#[derive(Clone, Copy, Debug)]
pub struct Ranked {
    pub rouge: Option<f64>,
    pub copied: u32,
    /// As `GeneratedPair::is_tagged`.
    pub tagged: bool,
    pub decision: Option<Decision>,
}

impl Ranked {
    pub fn of(pair: &GeneratedPair) -> Self {
        Self {
            rouge: pair.scores.rouge_l,
            copied: pair.scores.copied_run,
            tagged: pair.is_tagged(),
            decision: pair.decision(),
        }
    }
}

/// Which pairs a filter shows, over the columns of [`PairSource::table`].
const CONDITION: &str = "(:tag = '' OR CASE :tag WHEN 'none' THEN tags = ' ' WHEN 'any' THEN tags <> ' '
                              ELSE instr(tags, ' ' || :tag || ' ') > 0 END)
    AND CASE :decision WHEN '' THEN 1 WHEN 'undecided' THEN decision = '' WHEN 'edited' THEN edited ELSE decision = :decision END
    AND (:text = '' OR instr(text, :text) > 0)";

/// Positions break ties, so that pages neither repeat nor skip a pair.
fn order(sort: PairSort) -> &'static str {
    match sort {
        PairSort::Index => "position",
        PairSort::RougeAscending => "rouge ASC NULLS LAST, position",
        PairSort::RougeDescending => "rouge DESC NULLS LAST, position",
        PairSort::CopiedDescending => "copied DESC, position",
        PairSort::LengthDescending => "words DESC, position",
        PairSort::LengthAscending => "words, position",
    }
}

/// Calls `$act` with the values of [`CONDITION`] and the others that are given.
macro_rules! with_values {
    ($run:expr, $filter:expr, { $($more:tt)* }, $values:ident => $act:expr) => {{
        let filter: &PairFilter = $filter;
        let (tag, decision, text) = (filter.tag.as_str(), filter.decision.as_str(), filter.text.to_lowercase());
        let $values = named_params! { ":run": $run, ":tag": tag, ":decision": decision, ":text": text, $($more)* };
        $act
    }};
}

impl Store {
    /// All finished pairs of a generate run with what was decided on them, by row of the corpus. Refuses where one
    /// cannot be read.
    pub fn all_pairs(&self, run: i64) -> Result<Vec<GeneratedPair>> {
        let mut pairs = Vec::new();
        self.visit_pairs(PairSource::Generated, run, &PairFilter::default(), |pair| {
            pairs.push(pair.map_err(|bad| StoreError::Unreadable { what: bad.name(run), problem: bad.problem })?);
            Ok::<(), StoreError>(())
        })?;
        Ok(pairs)
    }

    /// Those of a run's finished pairs that can be read, by row of the corpus.
    pub fn readable_pairs(&self, run: i64) -> Result<Vec<GeneratedPair>> {
        let mut pairs = Vec::new();
        self.visit_pairs(PairSource::Generated, run, &PairFilter::default(), |pair| {
            pairs.extend(pair.ok());
            Ok::<(), StoreError>(())
        })?;
        Ok(pairs)
    }

    /// Every pair that the filter shows, one after another, in its order.
    pub fn visit_pairs<E: From<StoreError>>(
        &self,
        source: PairSource,
        run: i64,
        filter: &PairFilter,
        mut visit: impl FnMut(StoredPair) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let query = format!("SELECT * FROM ({}) WHERE {CONDITION} ORDER BY {}", source.table(), order(filter.sort));
        let visited = self.read(|connection| {
            let mut statement = connection.prepare_cached(&query)?;
            let mut rows = with_values!(run, filter, {}, values => statement.query(values))?;
            while let Some(pair) = next(&mut rows)? {
                if let Err(error) = visit(pair) {
                    return Ok(Err(error));
                }
            }
            Ok(Ok(()))
        });
        visited.unwrap_or_else(|error| Err(error.into()))
    }

    /// A page of the pairs that the filter shows, and how many it shows in all.
    pub fn page_of_pairs(
        &self,
        source: PairSource,
        run: i64,
        filter: &PairFilter,
        offset: u64,
        limit: Option<u64>,
    ) -> Result<(Vec<GeneratedPair>, u64)> {
        self.read(|connection| page(connection, source, run, filter, offset, limit))
    }

    /// How many of the pairs that the filter shows come before the one of this row of the corpus file (1-based). None:
    /// it is not among them.
    pub fn place_of_pair(&self, source: PairSource, run: i64, filter: &PairFilter, row: u64) -> Result<Option<u64>> {
        let query = format!(
            "SELECT before FROM (SELECT source_row, row_number() OVER (ORDER BY {}) - 1 AS before
                                 FROM ({}) WHERE {CONDITION}) WHERE source_row = :row",
            order(filter.sort),
            source.table()
        );
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&query)?;
            let row = row as i64;
            let mut rows = with_values!(run, filter, { ":row": row }, values => statement.query(values))?;
            Ok(rows.next()?.map(|row| row.get::<_, i64>(0)).transpose()?.map(i64::unsigned_abs))
        })
    }

    /// What the pairs of a report are ranked by, in its order.
    pub fn ranks_of_report(&self, run: i64) -> Result<Vec<Ranked>> {
        let query = "SELECT rouge, copied, tags <> ' ' AND NOT edited, decision FROM report_pairs WHERE run = ?1
                     ORDER BY position";
        self.read(|connection| {
            let mut statement = connection.prepare_cached(query)?;
            let ranks = statement.query_map([run], |row| {
                Ok(Ranked {
                    rouge: row.get(0)?,
                    copied: row.get(1)?,
                    tagged: row.get(2)?,
                    decision: row.get_ref(3)?.as_str().ok().and_then(curation::decision),
                })
            })?;
            Ok(ranks.collect::<rusqlite::Result<_>>()?)
        })
    }

    pub fn pairs(&self, query: &PairsQuery) -> Result<PairsPage> {
        let limit = if query.limit == 0 { USUAL_ROWS } else { query.limit.min(MOST_ROWS) };
        self.read(|connection| {
            let (offset, limit) = (u64::from(query.offset), Some(u64::from(limit)));
            let (pairs, total) = page(connection, PairSource::Generated, query.run, &query.filter, offset, limit)?;
            Ok(PairsPage { total, pairs, counts: curation::counts(connection, query.run)? })
        })
    }

    /// The pairs of a generate run that the filter shows, in its order.
    pub fn matching_pairs(&self, run: i64, filter: &PairFilter) -> Result<MatchingPairs> {
        let query = format!(
            "SELECT position, coalesce(source_row, position + 1) FROM ({}) WHERE {CONDITION} ORDER BY {}",
            PairSource::Generated.table(),
            order(filter.sort)
        );
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&query)?;
            let mut rows = with_values!(run, filter, {}, values => statement.query(values))?;
            let mut pairs = Vec::new();
            while let Some(row) = rows.next()? {
                pairs.push((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs()));
            }
            Ok(MatchingPairs { pairs, counts: curation::counts(connection, run)? })
        })
    }

    /// The pairs at these positions, in their order; those that there are.
    pub fn pairs_at(&self, source: PairSource, run: i64, positions: &[u32]) -> Result<Vec<GeneratedPair>> {
        let query = format!("SELECT * FROM ({}) WHERE position = :position", source.table());
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&query)?;
            let mut pairs = Vec::with_capacity(positions.len());
            for position in positions {
                let mut rows = statement.query(named_params! { ":run": run, ":position": position })?;
                if let Some(pair) = next(&mut rows)? {
                    pairs.push(pair.unwrap_or_else(Unreadable::shown));
                }
            }
            Ok(pairs)
        })
    }

    /// Positions of the pairs that a filter shows and whose decision is another than this one, with that decision.
    pub(super) fn positions_to_decide(
        transaction: &Transaction<'_>,
        run: i64,
        filter: &PairFilter,
        decision: Option<Decision>,
    ) -> Result<Vec<(u32, Option<Decision>)>> {
        let query = format!(
            "SELECT position, decision FROM ({}) WHERE {CONDITION} AND decision <> :new",
            PairSource::Generated.table()
        );
        let new = decision.map_or("", Decision::as_str);
        let mut statement = transaction.prepare_cached(&query)?;
        let mut rows = with_values!(run, filter, { ":new": new }, values => statement.query(values))?;
        let mut positions = Vec::new();
        while let Some(row) = rows.next()? {
            positions.push((row.get(0)?, curation::decision(row.get_ref(1)?.as_str().unwrap_or_default())));
        }
        Ok(positions)
    }
}

fn page(
    connection: &Connection,
    source: PairSource,
    run: i64,
    filter: &PairFilter,
    offset: u64,
    limit: Option<u64>,
) -> Result<(Vec<GeneratedPair>, u64)> {
    let table = source.table();
    let total: i64 = if filter.shows_all() {
        connection.prepare_cached(source.count())?.query_row([run], |row| row.get(0))?
    } else {
        let mut count = connection.prepare_cached(&format!("SELECT count(*) FROM ({table}) WHERE {CONDITION}"))?;
        with_values!(run, filter, {}, values => count.query_row(values, |row| row.get(0)))?
    };
    let query = format!(
        "SELECT * FROM ({table}) WHERE {CONDITION} ORDER BY {} LIMIT :limit OFFSET :offset",
        order(filter.sort)
    );
    let mut statement = connection.prepare_cached(&query)?;
    let (limit, offset) = (limit.map_or(-1, |limit| limit as i64), offset as i64);
    let mut rows =
        with_values!(run, filter, { ":limit": limit, ":offset": offset }, values => statement.query(values))?;
    let mut pairs = Vec::new();
    while let Some(pair) = next(&mut rows)? {
        pairs.push(pair.unwrap_or_else(Unreadable::shown));
    }
    Ok((pairs, total.unsigned_abs()))
}

pub type StoredPair = Result<GeneratedPair, Unreadable>;

#[derive(Debug)]
pub struct Unreadable {
    /// Position among the rows that were used.
    index: u32,
    problem: String,
}

impl Unreadable {
    fn name(&self, run: i64) -> String {
        format!("the pair of row {} of run {run}", self.index)
    }

    /// In its place in a table.
    pub fn shown(self) -> GeneratedPair {
        let response = format!("(This pair cannot be read: {}.)", self.problem);
        GeneratedPair { index: self.index, response, ..GeneratedPair::default() }
    }
}

/// The next row of a query over [`PairSource::table`].
fn next(rows: &mut Rows<'_>) -> Result<Option<StoredPair>> {
    let Some(row) = rows.next()? else { return Ok(None) };
    let index = row.get("position")?;
    let mut pair: GeneratedPair =
        match format::read(row.get("format")?, row.get_ref("pair")?.as_str().unwrap_or_default()) {
            Ok(pair) => pair,
            Err(problem) => return Ok(Some(Err(Unreadable { index, problem }))),
        };
    if let Some(text) = row.get_ref("curation")?.as_str_or_null().unwrap_or_default() {
        match format::read::<Curation>(row.get("curation_format")?, text) {
            Ok(curation) => pair.curation = Some(curation),
            Err(problem) => return Ok(Some(Err(Unreadable { index, problem }))),
        }
    }
    Ok(Some(Ok(pair)))
}

/// What a pair is filtered and sorted by.
struct Columns {
    text: String,
    /// Each between spaces.
    tags: String,
    decision: &'static str,
    edited: bool,
}

impl Columns {
    fn of(pair: &GeneratedPair) -> Self {
        let reference = pair.reference.as_deref().unwrap_or_default();
        let curation = pair.curation.as_ref().map(curation::text).unwrap_or_default();
        Self {
            text: format!("{}\n{reference}\n{}", pair.generated, pair.response).to_lowercase() + &curation,
            tags: pair.scores.tags.iter().fold(" ".to_owned(), |tags, tag| tags + tag.as_str() + " "),
            decision: pair.decision().map_or("", Decision::as_str),
            edited: pair.curation.as_ref().is_some_and(|curation| curation.instruction.is_some()),
        }
    }
}

pub(super) fn insert(transaction: &Transaction<'_>, run: i64, pair: &GeneratedPair) -> Result<()> {
    let columns = Columns::of(pair);
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO pairs (run, row, pair, text, tags, rouge, copied, words, format)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            run,
            pair.index,
            format::write("the pair", pair)?.0,
            columns.text,
            columns.tags,
            pair.scores.rouge_l,
            pair.scores.copied_run,
            pair.scores.words,
            format::RECORD
        ])?;
    Ok(())
}

/// Pairs of a report, in its order.
pub(super) fn insert_of_report(transaction: &Transaction<'_>, run: i64, pairs: &[GeneratedPair]) -> Result<()> {
    let mut insert =
        transaction.prepare_cached("INSERT INTO report_pairs (run, position, pair, format) VALUES (?1, ?2, ?3, ?4)")?;
    for (position, pair) in pairs.iter().enumerate() {
        let (text, _) = format::write("a pair of the report", pair)?;
        insert.execute(params![run, position as i64, text, format::RECORD])?;
        fill(transaction, run, position as i64, pair)?;
    }
    Ok(())
}

fn fill(transaction: &Connection, run: i64, position: i64, pair: &GeneratedPair) -> rusqlite::Result<()> {
    let columns = Columns::of(pair);
    transaction
        .prepare_cached(
            "UPDATE report_pairs SET text = ?3, tags = ?4, rouge = ?5, copied = ?6, words = ?7, decision = ?8, edited = ?9
             WHERE run = ?1 AND position = ?2",
        )?
        .execute(params![
            run,
            position,
            columns.text,
            columns.tags,
            pair.scores.rouge_l,
            pair.scores.copied_run,
            pair.scores.words,
            columns.decision,
            columns.edited
        ])?;
    Ok(())
}

/// Fills the columns of pairs that reports of earlier versions froze.
pub(super) fn fill_report_columns(transaction: &Connection) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare("SELECT run, position, pair, format FROM report_pairs")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if let Ok(pair) = format::read::<GeneratedPair>(row.get(3)?, row.get_ref(2)?.as_str().unwrap_or_default()) {
            fill(transaction, row.get(0)?, row.get(1)?, &pair)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use spec::{DecisionFilter, Tag, TagFilter};

    use super::*;

    #[test]
    fn every_filter_has_its_word_in_the_condition() {
        // Words that the condition treats apart; all others are compared with a column.
        for word in [TagFilter::Untagged.as_str(), TagFilter::Tagged.as_str()] {
            assert!(CONDITION.contains(&format!("'{word}'")), "{word}");
            assert!(Tag::ALL.iter().all(|tag| tag.as_str() != word), "{word} is a tag");
        }
        for filter in DecisionFilter::ALL {
            let is_decision = Decision::ALL.iter().any(|decision| decision.as_str() == filter.as_str());
            assert!(is_decision || CONDITION.contains(&format!("'{}'", filter.as_str())), "{filter:?}");
        }
    }
}
