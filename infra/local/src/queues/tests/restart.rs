//! What outlives the process that kept it.

use super::*;

#[tokio::test]
async fn a_restart_loses_nothing_and_what_was_in_flight_comes_back() {
    let rig = Rig::new().await;
    for body in ["a", "b", "c"] {
        rig.send(body).await;
    }
    let receive = rig.client.receive_message().queue_url(&rig.url).send().await;
    assert_eq!(receive.expect("received").messages()[0].body(), Some("a"));
    let rig = Rig::over(rig.dir);
    assert_eq!(rig.attributes().await, ["2", "1", "0"]);
    assert_eq!(rig.bodies().await, ["b", "c"]);
    rig.advance(61);
    assert_eq!(rig.bodies().await, ["a", "b", "c"]);
}
