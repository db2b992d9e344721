//! The services beside the tables: queues, the event bus, mails. They answer at once; what they are told
//! lies in the queues and in the outbox.

use aws_smithy_runtime_api::client::result::ConnectorError;
use serde_json::{Value, json};

use crate::{
    engine::Answer,
    fault::Fault,
    time::sleep_ms,
    wire::{NEVER_MS, Wire, locked},
};

impl Wire {
    /// One request to another service than the tables, and the fault that it met.
    pub(crate) async fn elsewhere(
        &self,
        target: &str,
        uri: &str,
        body: &Value,
    ) -> (Result<Answer, ConnectorError>, Option<Fault>) {
        let fault = self.faults.first(&[
            Fault::Throttled,
            Fault::ServerError,
            Fault::Reset,
            Fault::Timeout,
            Fault::AnswerLost,
            Fault::AnswerDelayed,
            Fault::Doubled,
        ]);
        let broken = || ConnectorError::io("the connection broke".into());
        let answer = match fault {
            None => Ok(self.outside(target, uri, body)),
            Some(Fault::Throttled) => Ok(Answer::error(400, "ThrottlingException")),
            Some(Fault::ServerError) => Ok(Answer::error(500, "InternalFailure")),
            Some(Fault::AnswerLost) => {
                self.outside(target, uri, body);
                Err(broken())
            }
            Some(Fault::AnswerDelayed) => {
                self.outside(target, uri, body);
                sleep_ms(NEVER_MS).await;
                Err(broken())
            }
            Some(Fault::Doubled) => {
                self.outside(target, uri, body);
                Ok(self.outside(target, uri, body))
            }
            Some(Fault::Timeout) => {
                sleep_ms(NEVER_MS).await;
                Err(broken())
            }
            Some(_) => Err(broken()),
        };
        (answer, fault)
    }

    /// The other services.
    fn outside(&self, target: &str, uri: &str, body: &Value) -> Answer {
        let text = |name: &str| body[name].as_str().unwrap_or_default();
        let queue = text("QueueUrl").rsplit('/').next().unwrap_or_default();
        let seconds = |value: &Value| value.as_u64().unwrap_or(0);
        let body = match target {
            "AmazonSQS.SendMessage" => {
                let id = self
                    .queues
                    .send(queue, text("MessageBody"), seconds(&body["DelaySeconds"]), &self.faults);
                json!({"MessageId": id, "MD5OfMessageBody": ""})
            }
            "AmazonSQS.SendMessageBatch" => {
                let entries = body["Entries"].as_array().cloned().unwrap_or_default();
                let sent = entries.iter().map(|entry| {
                    let text = entry["MessageBody"].as_str().unwrap_or_default();
                    let id = self
                        .queues
                        .send(queue, text, seconds(&entry["DelaySeconds"]), &self.faults);
                    json!({"Id": entry["Id"], "MessageId": id, "MD5OfMessageBody": ""})
                });
                json!({"Successful": sent.collect::<Vec<_>>(), "Failed": []})
            }
            "AmazonSQS.ChangeMessageVisibility" => {
                self.queues
                    .hide(queue, text("ReceiptHandle"), seconds(&body["VisibilityTimeout"]));
                json!({})
            }
            "AWSEvents.PutEvents" => {
                let entries = body["Entries"].as_array().cloned().unwrap_or_default();
                let ids: Vec<Value> = entries.iter().map(|_| json!({"EventId": "simulated"})).collect();
                locked(&self.outbox).extend(entries);
                json!({"FailedEntryCount": 0, "Entries": ids})
            }
            _ if uri.contains("/v2/email/") => {
                locked(&self.outbox).push(body.clone());
                json!({"MessageId": "simulated"})
            }
            _ => return Answer::error(400, "UnknownOperationException"),
        };
        Answer { status: 200, body }
    }
}
