//! The socket: replay, live events, reconnects, slow clients, and who may connect.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use server::work::Ended;
use spec::*;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::support::{Server, fake, run_of, wait_for};

type Socket = WebSocketStream<TcpStream>;

async fn connect(server: &Server, cookie: Option<&str>, origin: Option<&str>) -> Result<Socket, u16> {
    let mut request = format!("ws://{}/ws", server.address).into_client_request().unwrap();
    if let Some(cookie) = cookie {
        request.headers_mut().insert("Cookie", cookie.parse().unwrap());
    }
    if let Some(origin) = origin {
        request.headers_mut().insert("Origin", origin.parse().unwrap());
    }
    let stream = TcpStream::connect(server.address).await.unwrap();
    match client_async(request, stream).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
        Err(other) => panic!("{other}"),
    }
}

async fn watch(server: &Server, run: i64, after_seq: u64) -> Socket {
    let origin = format!("http://{}", server.address);
    let mut socket = connect(server, Some(&server.cookie().await), Some(&origin)).await.unwrap();
    say(&mut socket, &ClientFrame::Run { run, after_seq }).await;
    socket
}

async fn say(socket: &mut Socket, frame: &ClientFrame) {
    socket.send(Message::text(serde_json::to_string(frame).unwrap())).await.unwrap();
}

/// The next frame that is not a heartbeat; None at the end.
async fn hear(socket: &mut Socket) -> Option<ServerFrame> {
    loop {
        let message = tokio::time::timeout(Duration::from_secs(20), socket.next()).await.expect("a frame in time")?;
        match message {
            Ok(Message::Text(text)) => match serde_json::from_str(&text).unwrap() {
                ServerFrame::Heartbeat => {}
                frame => return Some(frame),
            },
            Ok(Message::Close(_)) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

fn is_over(event: &LoggedEvent) -> bool {
    matches!(event.event, RunEvent::State { state, .. } if state.is_over())
}

/// Training that takes this many quick steps.
fn steps(count: u32) -> fake::Work {
    Arc::new(move |assignment, emit| {
        if assignment.config.kind() == CellKind::Train {
            for step in 1..=count {
                emit(fake::step(step));
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(fake::finish(assignment, emit))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_socket_opens_only_for_the_owners_own_pages() {
    let server = Server::start().await;
    let (cookie, origin) = (server.cookie().await, format!("http://{}", server.address));
    assert_eq!(connect(&server, None, Some(&origin)).await.err(), Some(401));
    assert_eq!(connect(&server, Some("backtranslate_1=x"), Some(&origin)).await.err(), Some(401));
    for foreign in [None, Some("null"), Some("http://evil.example"), Some("http://127.0.0.1:1")] {
        assert_eq!(connect(&server, Some(&cookie), foreign).await.err(), Some(403), "{foreign:?}");
    }
    assert!(connect(&server, Some(&cookie), Some(&origin)).await.is_ok());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_log_is_dense_and_without_duplicates_over_reconnects() {
    let server = Server::start_with(steps(300), |_| {}).await;
    server.service.ask(RunAll { experiment: 1, key: IdempotencyKey::default() }).await.unwrap();
    let run = run_of(&server.service, CellKind::Train).await.run;
    let mut seen: Vec<LoggedEvent> = Vec::new();
    let mut connections = 0;
    while !seen.last().is_some_and(is_over) {
        let mut socket = watch(&server, run, seen.last().map_or(0, |event| event.seq)).await;
        connections += 1;
        for _ in 0..40 {
            match hear(&mut socket).await {
                Some(ServerFrame::Event { event }) => seen.push(event),
                other => panic!("{other:?}"),
            }
            if seen.last().is_some_and(is_over) {
                break;
            }
        }
    }
    assert!(connections > 5);
    let numbers: Vec<u64> = seen.iter().map(|event| event.seq).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    let fresh = server.service.ask(GetRun { run }).await.unwrap();
    let mut folded = RunView::new(run, fresh.cell, fresh.config.clone(), fresh.created_ms);
    assert!(seen.iter().all(|event| folded.apply(event)));
    assert_eq!(folded, fresh);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_client_that_does_not_read_gets_a_snapshot_and_holds_up_nobody() {
    let gate = fake::Gate::default();
    let waiting = gate.clone();
    let work: fake::Work = Arc::new(move |assignment, emit| {
        if assignment.config.kind() == CellKind::Data {
            waiting.wait(assignment);
            // Far more than sockets and channels hold.
            for _ in 0..2_500 {
                emit(RunEvent::Phase { text: "x".repeat(20_000) });
            }
        }
        Ok(fake::finish(assignment, emit))
    });
    let server = Server::start_with(work, |_| {}).await;
    server.service.ask(RunAll { experiment: 1, key: IdempotencyKey::default() }).await.unwrap();
    let run = run_of(&server.service, CellKind::Data).await.run;
    let mut socket = watch(&server, run, 0).await;
    assert!(matches!(hear(&mut socket).await, Some(ServerFrame::Event { .. })));
    gate.open();
    wait_for(&server.service, run, RunState::Done).await;

    let (mut last, mut snapshots) = (0, 0);
    loop {
        match hear(&mut socket).await.expect("the socket stays open") {
            ServerFrame::Event { event } => {
                assert!(last == 0 || event.seq == last + 1, "{} after {last}", event.seq);
                last = event.seq;
                if is_over(&event) {
                    break;
                }
            }
            ServerFrame::Snapshot { view } => {
                snapshots += 1;
                last = view.seq;
                if view.state.is_over() {
                    break;
                }
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(snapshots > 0);
    assert_eq!(last, server.service.ask(GetRun { run }).await.unwrap().seq);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn viewers_hear_of_changed_experiments_that_they_asked_for() {
    let server = Server::start().await;
    let origin = format!("http://{}", server.address);
    let mut socket = connect(&server, Some(&server.cookie().await), Some(&origin)).await.unwrap();
    say(&mut socket, &ClientFrame::Experiment { experiment: 1 }).await;
    say(&mut socket, &ClientFrame::Run { run: 999, after_seq: 0 }).await;
    // Frames are answered in order, so the subscription stands once this has come.
    assert!(matches!(hear(&mut socket).await, Some(ServerFrame::Error { error }) if error.code == ErrorCode::NotFound));
    server.service.ask(AddCell { experiment: 1, kind: CellKind::Note, position: 0 }).await.unwrap();
    assert_eq!(hear(&mut socket).await, Some(ServerFrame::Changed { experiment: 1 }));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cursor_beyond_the_log_gets_a_snapshot() {
    let server = Server::start().await;
    server.service.ask(RunAll { experiment: 1, key: IdempotencyKey::default() }).await.unwrap();
    let run = run_of(&server.service, CellKind::Data).await.run;
    wait_for(&server.service, run, RunState::Done).await;
    let mut socket = watch(&server, run, u64::MAX).await;
    assert!(matches!(hear(&mut socket).await, Some(ServerFrame::Snapshot { view }) if view.state == RunState::Done));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nonsense_is_answered_and_large_frames_end_the_socket() {
    let server = Server::start().await;
    let origin = format!("http://{}", server.address);
    let mut socket = connect(&server, Some(&server.cookie().await), Some(&origin)).await.unwrap();
    for nonsense in ["", "{}", "[]", r#"{"type":"run","run":"x","after_seq":-1}"#, r#"{"type":"shutdown"}"#] {
        socket.send(Message::text(nonsense)).await.unwrap();
        assert!(matches!(hear(&mut socket).await, Some(ServerFrame::Error { .. })), "{nonsense}");
    }
    let _ = socket.send(Message::text("x".repeat(100_000))).await;
    assert_eq!(hear(&mut socket).await, None);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn stopping_the_server_saves_the_run_and_closes_sockets_in_time() {
    let gate = fake::Gate::default();
    let server = Server::start_with(fake::gated(CellKind::Train, &gate), |_| {}).await;
    server.service.ask(RunAll { experiment: 1, key: IdempotencyKey::default() }).await.unwrap();
    let run = run_of(&server.service, CellKind::Train).await.run;
    wait_for(&server.service, run, RunState::Running).await;
    let mut socket = watch(&server, run, 0).await;
    assert!(hear(&mut socket).await.is_some());
    let service = Arc::clone(&server.service);
    let begun = std::time::Instant::now();
    let data = server.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(10));
    while hear(&mut socket).await.is_some() {}
    let view = service.ask(GetRun { run }).await.unwrap();
    assert_eq!((view.state, view.error.unwrap().code), (RunState::Interrupted, ErrorCode::Interrupted));
    assert_eq!(run_of(&service, CellKind::Generate).await.state, RunState::Interrupted);
    drop(data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_run_that_does_not_stop_holds_up_the_end_for_less_than_ten_seconds() {
    let work: fake::Work = Arc::new(|_, _| {
        std::thread::sleep(Duration::from_secs(14));
        Ok(Ended::Stopped)
    });
    let server = Server::start_with(work, |_| {}).await;
    server.service.ask(RunAll { experiment: 1, key: IdempotencyKey::default() }).await.unwrap();
    let run = run_of(&server.service, CellKind::Data).await.run;
    wait_for(&server.service, run, RunState::Running).await;
    let service = Arc::clone(&server.service);
    let begun = std::time::Instant::now();
    let _data = server.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(service.ask(GetRun { run }).await.unwrap().state, RunState::Interrupted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_socket_forgets_runs_that_are_over() {
    let server = Server::start_with(fake::obedient(), |_| {}).await;
    let origin = format!("http://{}", server.address);
    let mut socket = connect(&server, Some(&server.cookie().await), Some(&origin)).await.unwrap();
    let data_cell = crate::support::cell(&server.service, 1, CellKind::Data).await.id;
    for round in 0..220 {
        let key = format!("run {round}").try_into().unwrap();
        server.service.ask(RunCell { cell: data_cell, retrain: false, key }).await.unwrap();
        let run = run_of(&server.service, CellKind::Data).await.run;
        wait_for(&server.service, run, RunState::Done).await;
        say(&mut socket, &ClientFrame::Run { run, after_seq: 0 }).await;
        loop {
            match hear(&mut socket).await.unwrap() {
                ServerFrame::Event { event } if event.run == run && is_over(&event) => break,
                ServerFrame::Event { event } => assert_eq!(event.run, run),
                other => panic!("after {round} runs: {other:?}"),
            }
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_run_that_is_resumed_is_followed_again_without_a_gap() {
    let gate = fake::Gate::default();
    let server = Server::start_with(fake::gated(CellKind::Train, &gate), |_| {}).await;
    server.service.ask(RunAll { experiment: 1, key: IdempotencyKey::default() }).await.unwrap();
    let run = run_of(&server.service, CellKind::Train).await.run;
    wait_for(&server.service, run, RunState::Running).await;
    let mut socket = watch(&server, run, 0).await;
    server.service.ask(StopRun { run, mode: StopMode::Save }).await.unwrap();
    let mut seen = Vec::new();
    let follow = async |socket: &mut Socket, seen: &mut Vec<u64>| loop {
        let Some(ServerFrame::Event { event }) = hear(socket).await else { panic!("an event") };
        seen.push(event.seq);
        if is_over(&event) {
            break;
        }
    };
    follow(&mut socket, &mut seen).await;
    gate.open();
    server.service.ask(ResumeRun { run, key: IdempotencyKey::default() }).await.unwrap();
    say(&mut socket, &ClientFrame::Run { run, after_seq: *seen.last().unwrap() }).await;
    follow(&mut socket, &mut seen).await;
    assert_eq!(seen, (1..=seen.len() as u64).collect::<Vec<_>>());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_list_of_hundreds_of_experiments_hears_of_every_change() {
    let server = Server::start().await;
    let origin = format!("http://{}", server.address);
    let mut last = 1;
    for number in 0..250 {
        let create = CreateExperiment {
            name: format!("Number {number}"),
            preset: Preset::Empty,
            key: IdempotencyKey::default(),
        };
        last = server.service.ask(create).await.unwrap();
    }
    let mut socket = connect(&server, Some(&server.cookie().await), Some(&origin)).await.unwrap();
    say(&mut socket, &ClientFrame::Experiments).await;
    say(&mut socket, &ClientFrame::Run { run: 999, after_seq: 0 }).await;
    assert!(matches!(hear(&mut socket).await, Some(ServerFrame::Error { .. })));
    for experiment in [1, last] {
        server.service.ask(RenameExperiment { experiment, name: "New".to_owned() }).await.unwrap();
        assert_eq!(hear(&mut socket).await, Some(ServerFrame::Changed { experiment }));
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn asking_again_for_a_watched_run_is_not_counted_twice() {
    let gate = fake::Gate::default();
    let server = Server::start_with(fake::gated(CellKind::Data, &gate), |_| {}).await;
    server.service.ask(RunAll { experiment: 1, key: IdempotencyKey::default() }).await.unwrap();
    let run = run_of(&server.service, CellKind::Data).await.run;
    wait_for(&server.service, run, RunState::Running).await;
    let mut socket = watch(&server, run, 0).await;
    for _ in 0..250 {
        say(&mut socket, &ClientFrame::Run { run, after_seq: 0 }).await;
        let Some(ServerFrame::Event { event }) = hear(&mut socket).await else { panic!("an event") };
        assert_eq!(event.run, run);
    }
    gate.open();
    server.stop().await;
}
