//! Schedules by the stack's clock.

use super::*;
use crate::template::Schedule;

/// A host with one schedule, and the events that its function is handed.
struct Scheduled {
    clock: Clock,
    desk: Desk,
    runs: watch::Receiver<Vec<String>>,
    _host: Host,
    _dir: TempDir,
}

impl Scheduled {
    fn new(start: &str, input: Option<&str>, scheduler: bool) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let clock = Clock::open(&dir.path().join("clock.json")).expect("a clock");
        clock.set(Some(start.parse().expect("an instant"))).expect("set");
        let queues = Queues::open(&dir.path().join("queues.db"), &[], &clock, "http://queues").expect("queues");
        let (ran, runs) = watch::channel(Vec::new());
        let job: Invoke = Arc::new(move |event| {
            ran.send_modify(|runs| runs.push(event));
            Box::pin(async { Ok("{\"done\":1}".to_owned()) })
        });
        let schedule = Schedule {
            function: "Job".to_owned(),
            arn: "arn:rule".to_owned(),
            expression: "cron(0 3 * * ? *)".parse().expect("understood"),
            input: input.map(str::to_owned),
            scheduler,
        };
        let template = template(Triggers {
            schedules: vec![schedule],
            ..Triggers::default()
        });
        let functions = Functions::given([("Job", job)]);
        let streams = no_streams(&dir);
        let host = Host::start(&template, &queues, &streams, &functions, &clock, &Handle::current()).expect("started");
        Self {
            clock,
            desk: host.desk(),
            runs,
            _host: host,
            _dir: dir,
        }
    }

    async fn first(&mut self) -> String {
        let runs = tokio::time::timeout(LIMIT, self.runs.wait_for(|runs| !runs.is_empty())).await;
        runs.expect("it runs").expect("a host")[0].clone()
    }
}

#[tokio::test]
async fn it_runs_when_the_clock_ticks_past_its_instant() {
    let mut rig = Scheduled::new("2026-01-31T02:59:59.900Z", None, false);
    let event: Value = serde_json::from_str(&rig.first().await).expect("JSON");
    for (pointer, expected) in [
        ("/source", "aws.events"),
        ("/detail-type", "Scheduled Event"),
        ("/time", "2026-01-31T03:00:00Z"),
        ("/resources/0", "arn:rule"),
    ] {
        assert_eq!(
            event.pointer(pointer).and_then(Value::as_str),
            Some(expected),
            "{event}"
        );
    }
    assert_eq!(event["detail"], json!({}));
    assert!(rig.desk.drain(LIMIT).await.expect("drained"));
    assert_eq!(rig.runs.borrow().len(), 1, "once");
}

#[tokio::test]
async fn what_a_moved_clock_leaps_over_does_not_run_and_the_next_does() {
    let mut rig = Scheduled::new("2026-01-31T00:00:00Z", None, false);
    rig.clock.advance(TimeDelta::days(90)).expect("moved");
    tokio::task::yield_now().await;
    let before_the_next = "2026-08-01T02:59:59.800Z".parse().expect("an instant");
    rig.clock.set(Some(before_the_next)).expect("set");
    let event: Value = serde_json::from_str(&rig.first().await).expect("JSON");
    assert_eq!(event["time"], json!("2026-08-01T03:00:00Z"));
    assert_eq!(rig.runs.borrow().len(), 1);
}

#[tokio::test]
async fn an_input_takes_the_events_place_and_a_run_may_be_asked_for() {
    let rig = Scheduled::new(
        "2026-01-31T00:00:00Z",
        Some("{\"at\":\"<aws.scheduler.scheduled-time>\"}"),
        true,
    );
    let result = rig.desk.run("Job").await.expect("it has a schedule").expect("it runs");
    assert_eq!(result, "{\"done\":1}");
    assert_eq!(*rig.runs.borrow(), ["{\"at\":\"2026-01-31T00:00:00Z\"}"]);
    assert!(rig.desk.run("Other").await.is_none());
}
