use super::*;

#[test]
fn an_error_about_a_file_calls_it_as_its_owner_does() {
    let folder = tempfile::tempdir().unwrap();
    let resources = Resources::open(folder.path()).unwrap();
    let source = folder.path().join("x");
    fs::write(&source, "noise").unwrap();
    let id = resources.import_file("my pairs.jsonl", &source).unwrap().id;
    let path = resources.file(&id).unwrap();
    let error = AppError::malformed_file(format!("{}: line 1: no row", path.display()), "");
    assert_eq!(resources.by_name(&id, error).message, "my pairs.jsonl: line 1: no row");
}

#[test]
fn the_same_content_gets_the_same_id_and_a_path_is_no_id() {
    let data = tempfile::tempdir().unwrap();
    let resources = Resources::open(data.path()).unwrap();
    let source = data.path().join("../x.jsonl".trim_start_matches("../"));
    fs::write(&source, "{}\n").unwrap();
    let first = resources.import_file("../../etc/my pairs.jsonl", &source).unwrap();
    let second = resources.import_file("other", &source).unwrap();
    assert_eq!(first, second);
    assert_eq!(first.name, "my pairs.jsonl");
    assert!(resources.file(&first.id).unwrap().starts_with(data.path()));
    for id in ["", "..", "../x.jsonl", "file-0000000000000000", "a/b", "/etc/passwd"] {
        assert_eq!(resources.file(id).unwrap_err().code, spec::ErrorCode::NotFound, "{id}");
    }
}

#[test]
fn the_samples_are_always_there() {
    let data = tempfile::tempdir().unwrap();
    let resources = Resources::open(data.path()).unwrap();
    fs::remove_file(resources.file("sample-pairs").unwrap()).unwrap();
    let again = Resources::open(data.path()).unwrap();
    assert!(again.file("sample-pairs").is_ok() && again.file("sample-responses").is_ok());
    assert_eq!(again.files().unwrap().len(), 2);
}

#[test]
fn a_changed_upload_is_refused_and_the_same_upload_again_mends_it() {
    let data = tempfile::tempdir().unwrap();
    let resources = Resources::open(data.path()).unwrap();
    let source = data.path().join("x");
    fs::write(&source, "{\"response\": \"one\"}\n").unwrap();
    let id = resources.import_file("my texts.jsonl", &source).unwrap().id;
    let path = resources.verified_file(&id).unwrap();
    let config = CellConfig::Generate(spec::GenerateConfig { file: id.clone(), ..Default::default() });
    let identity = resources.identity(&config);
    for with_hash in [true, false] {
        if !with_hash {
            // As earlier versions wrote it.
            fs::write(resources.entry_path(&id), r#"{"name":"my texts.jsonl","added_ms":7}"#).unwrap();
        }
        fs::write(&path, "{\"response\": \"onf\"}\n").unwrap();
        let error = resources.verified_file(&id).unwrap_err();
        assert_eq!(error.code, spec::ErrorCode::Corrupt);
        assert!(error.message.starts_with("my texts.jsonl: its sha256 is "), "{error}");
        assert!(error.message.contains(&identity) && error.hint.contains("Upload"), "{error}");
        let again = resources.import_file("another name", &source).unwrap();
        assert_eq!((again.id.as_str(), again.name.as_str()), (id.as_str(), "my texts.jsonl"));
        resources.verified_file(&id).unwrap();
    }
    assert_eq!(resources.identity(&config), identity);
    fs::remove_file(&path).unwrap();
    assert_eq!(resources.identity(&config), "");
}

#[test]
fn samples_carry_their_notice_and_uploads_none() {
    let data = tempfile::tempdir().unwrap();
    let resources = Resources::open(data.path()).unwrap();
    let source = data.path().join("x");
    fs::write(&source, "{}\n").unwrap();
    let id = resources.import_file("mine.jsonl", &source).unwrap().id;
    assert_eq!(resources.source(&id), SourceFile { name: "mine.jsonl".to_owned(), notice: String::new() });
    assert!(resources.source("sample-pairs").notice.contains("CC0"));
    assert!(resources.files().unwrap().iter().all(|file| file.notice.is_empty() == (file.id == id)));
}

#[test]
fn what_a_killed_process_left_half_written_is_swept_and_a_whole_upload_is_listed() {
    let data = tempfile::tempdir().unwrap();
    let resources = Resources::open(data.path()).unwrap();
    let left = ["files/.tmp-1", "files/.writing-1-0-file-1.json", "models/.writing-1-1-local-1.json"];
    for name in left {
        fs::write(data.path().join(name), "half").unwrap();
    }
    let unlisted = format!("file-{}", &sha256(b"{}\n")[..16]);
    fs::write(data.path().join("files").join(&unlisted), "{}\n").unwrap();
    resources.sweep().unwrap();
    assert!(left.iter().all(|name| !data.path().join(name).exists()));
    assert_eq!(resources.files().unwrap()[0].name, unlisted);
    resources.verified_file(&unlisted).unwrap();
}

#[test]
fn a_model_that_nobody_knows_is_refused_with_what_to_use() {
    let data = tempfile::tempdir().unwrap();
    let resources = Resources::open(data.path()).unwrap();
    let error = resources.model("nonsense", &Control::default(), &mut |_, _| {}).unwrap_err();
    assert_eq!(error.code, spec::ErrorCode::MissingModel);
    assert!(error.hint.contains(models::DEFAULT));
}
