//! Reports and share links: a link is 256 random bits, of which the store keeps a hash.

use spec::{AppError, CellKind, Examples, GeneratedPair, Report, ReportPage, ReportQuery, ShareLink, StepCurve};

use super::examples::choose;
use super::{Core, Service};
use crate::offline;
use crate::store::PairSource;

/// Of a share token; it is written in hexadecimal.
const TOKEN_BYTES: usize = 32;

/// Which report, and by what right.
#[derive(Clone, Debug)]
pub enum ReportOf {
    /// Its owner's.
    Run(i64),
    /// Whoever has a share link with this token.
    Link(String),
}

impl Service {
    /// `report.json`, as it was written.
    pub async fn report_file(&self, of: ReportOf) -> Result<Vec<u8>, AppError> {
        self.blocking(move |core| offline::read(&core.folders.path(core.run_of(&of)?))).await
    }

    /// The report as one HTML file.
    pub async fn report_html(&self, of: ReportOf) -> Result<String, AppError> {
        self.blocking(move |core| {
            let run = core.run_of(&of)?;
            let mut report = offline::parse(&offline::read(&core.folders.path(run))?)?;
            core.mend_curve(run, &mut report)?;
            Ok(offline::html(report))
        })
        .await
    }
}

impl Core {
    fn run_of(&self, of: &ReportOf) -> Result<i64, AppError> {
        match of {
            ReportOf::Run(run) => self.check_report(*run).map(|()| *run),
            ReportOf::Link(token) => self.shared_run(token)?.ok_or_else(unknown_link),
        }
    }

    pub(super) fn open_report(&self, run: i64, query: &ReportQuery) -> Result<ReportPage, AppError> {
        self.check_report(run)?;
        let experiment = self.store.run(run)?.experiment;
        Ok(ReportPage { experiment: Some(experiment), ..self.report_page(run, query)? })
    }

    fn check_report(&self, run: i64) -> Result<(), AppError> {
        if self.store.run(run)?.config.kind() == CellKind::Report && self.store.has_report(run)? {
            return Ok(());
        }
        Err(AppError::not_found(format!("Run {run} has no report."), "Open a report from its cell."))
    }

    fn report_page(&self, run: i64, query: &ReportQuery) -> Result<ReportPage, AppError> {
        let ReportQuery { filter, page, row } = query;
        filter.check()?;
        let mut report = self.store.report(run)?;
        self.mend_curve(run, &mut report)?;
        let ranked = self.store.ranks_of_report(run)?;
        offline::fill_interval(&mut report, |_| ranked.iter().filter_map(|pair| pair.rouge).collect());
        let chosen = choose(&ranked, report.curate.as_ref().map(|curate| &curate.config));
        let source = PairSource::Report;
        let place = match row {
            Some(row) => self.store.place_of_pair(source, run, filter, *row)?,
            None => None,
        };
        let before = match (place, page.checked_sub(1)) {
            (_, None) => None,
            (Some(place), Some(_)) => Some(place / ReportPage::PAIRS),
            (None, Some(before)) => Some(u64::from(before)),
        };
        let offset = before.unwrap_or(0) * ReportPage::PAIRS;
        let limit = before.map(|_| ReportPage::PAIRS);
        let (pairs, matching) = self.store.page_of_pairs(source, run, filter, offset, limit)?;
        let all = ranked.len() as u64;
        report.pairs = pairs;
        let examples = Examples {
            by_rouge: chosen.by_rouge,
            best: self.example(run, chosen.best)?,
            median: self.example(run, chosen.median)?,
            worst: self.example(run, chosen.worst)?,
        };
        Ok(ReportPage { report, pairs: all, matching, offset, experiment: None, examples })
    }

    fn example(&self, run: i64, position: Option<usize>) -> Result<Option<GeneratedPair>, AppError> {
        let Some(position) = position.and_then(|position| u32::try_from(position).ok()) else { return Ok(None) };
        Ok(self.store.pairs_at(PairSource::Report, run, &[position])?.pop())
    }

    fn mend_curve(&self, run: i64, report: &mut Report) -> Result<(), AppError> {
        if report.curve.is_empty() {
            report.curve = self.curve_of_report(run)?;
        }
        Ok(())
    }

    /// Of a report whose steps were thinned by an older version: from the training's log, while that is here.
    fn curve_of_report(&self, run: i64) -> Result<StepCurve, AppError> {
        let inputs = self.store.run(run)?.inputs;
        let train = inputs.iter().find(|input| input.kind == CellKind::Train);
        match train.map(|train| self.store.run(train.run)) {
            Some(Ok(train)) => Ok(self.view_of(&train)?.curve.frozen()),
            _ => Ok(StepCurve::default()),
        }
    }

    pub(super) fn share(&self, run: i64) -> Result<ShareLink, AppError> {
        self.check_report(run)?;
        let token = new_token()?;
        let mut link = self.store.add_share(run, &hash(&token))?;
        link.path = Some(format!("/r/{token}"));
        Ok(link)
    }

    pub(super) fn shared_run(&self, token: &str) -> Result<Option<i64>, AppError> {
        if !token_is_well_formed(token) {
            return Ok(None);
        }
        Ok(self.store.shared_run(&hash(token))?)
    }

    pub(super) fn open_shared_report(&self, token: &str, query: &ReportQuery) -> Result<ReportPage, AppError> {
        let run = self.shared_run(token)?.ok_or_else(unknown_link)?;
        if query.page == 0 {
            return Err(AppError::invalid_setting(
                "A shared report is shown by page: page 0, all pairs at once, is for its owner only.",
                "Open it without ?page=all.",
            ));
        }
        self.report_page(run, query)
    }
}

/// The same for unknown, malformed and revoked tokens, so that the answer reveals nothing.
pub(super) fn unknown_link() -> AppError {
    AppError::not_found("This link does not open a report.", "Ask whoever sent it for a new one.")
}

/// Whether it has the form of a share link's token; anything else need not be looked up.
pub fn token_is_well_formed(token: &str) -> bool {
    token.len() == 2 * TOKEN_BYTES && token.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// 256 bits from the system's generator, in hexadecimal.
pub fn new_token() -> Result<String, AppError> {
    let mut bytes = [0; TOKEN_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| {
        AppError::internal(format!("The system's random number generator failed: {error}."), "Restart the machine.")
    })?;
    Ok(engine::artifact::hex(&bytes))
}

fn hash(token: &str) -> String {
    engine::artifact::sha256(token.as_bytes())
}
