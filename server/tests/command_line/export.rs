//! `runs` and `export` without any run: what is refused, and with which hint. The integration tests export from runs.

use crate::support::{Folder, json, plain};

#[test]
fn a_folder_without_a_database_is_named_with_the_flag_that_names_another() {
    let folder = Folder::new();
    let data = folder.path("nothing");
    for arguments in [&["runs", "--data", &data][..], &["export", "1", "-o", &folder.path("x.jsonl"), "--data", &data]]
    {
        let error = json(arguments).error("not_found");
        assert!(error["message"].as_str().unwrap().contains("nothing"), "{error}");
        assert!(error["hint"].as_str().unwrap().contains("--data"), "{error}");
    }
    assert!(!std::path::Path::new(&data).exists(), "reading makes no folder");
    assert!(!std::path::Path::new(&folder.path("x.jsonl")).exists());
}

#[test]
fn a_database_of_an_earlier_version_is_left_as_it_is_and_the_way_to_convert_it_is_told() {
    let folder = Folder::new();
    let packed = include_bytes!("../fixtures/data-folder-0.1.0.tar.gz");
    tar::Archive::new(flate2::read::GzDecoder::new(&packed[..])).unpack(folder.root()).unwrap();
    let data = folder.root().to_str().unwrap();
    let error = json(&["runs", "--data", data]).error("conflict");
    assert!(error["message"].as_str().unwrap().contains("an earlier version"), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("backtranslate serve"), "{error}");
}

#[test]
fn where_to_write_is_asked_for_and_what_does_not_go_together_is_refused() {
    for arguments in [
        &["export", "1"][..],
        &["export", "1", "-o", "x", "--dataset", "y"],
        &["export", "1", "--dataset", "y", "--file", "csv"],
        &["export", "1", "-o", "x", "--rows", "xml"],
        &["export", "1", "-o", "x", "--file", "docx"],
        &["export", "1", "-o", "x", "--tag", "blue"],
        &["export", "one", "-o", "x"],
    ] {
        json(arguments).usage();
    }
    let both = json(&["export", "1", "-o", "-"]);
    assert_eq!((both.status, both.json()["error"]["code"].as_str()), (1, Some("usage")));
    let help = plain(&["export", "--help"]).stdout;
    for word in ["prompt_completion", "template_leak", "undecided", "--dataset", "apostrophe", "source_row"] {
        assert!(help.contains(word), "{word} is not in\n{help}");
    }
}
