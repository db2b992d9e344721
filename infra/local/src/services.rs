//! The services beside the tables, each served on a port of its own on loopback: queues, bus,
//! mail, text messages and
//! buckets.

use std::sync::Arc;

use axum::Router;
use metering_edge::{
    aws::{Endpoint, Endpoints},
    webhook::{Reach, Sent, Webhooks},
};
use tokio::runtime::Handle;

use crate::{
    StackError,
    bus::{self, Bus},
    clock::Clock,
    front::{Port, PortError, Server},
    mail,
    outbox::{Outbox, Webhook},
    policy::ACCESS_KEY,
    queues::{self, Queues},
    sms,
    template::REGION,
};

/// The servers; dropping them stops them.
pub struct Services {
    queues: Server,
    bus: Server,
    mail: Server,
    sms: Server,
    buckets: Server,
}

impl Services {
    /// Serves the queues on `port`, which the template was told of, and the others, `buckets` among
    /// them, on free ones.
    pub fn start(
        port: Port,
        queues: &Queues,
        bus: &Bus,
        buckets: Router,
        outbox: &Outbox,
        clock: &Clock,
        runtime: &Handle,
    ) -> Result<Self, PortError> {
        let free = |app| Port::hold(0, runtime)?.serve_plainly(app, runtime);
        Ok(Self {
            queues: port.serve_plainly(queues::router(queues.clone()), runtime)?,
            bus: free(bus::router(bus.clone()))?,
            mail: free(mail::router(outbox.clone(), clock.clone()))?,
            sms: free(sms::router(outbox.clone(), clock.clone()))?,
            buckets: free(buckets)?,
        })
    }

    /// Where every service answers, and as whom; the tables at `dynamodb`.
    pub fn endpoints(&self, dynamodb: String) -> Endpoints {
        Endpoints {
            dynamodb: endpoint(dynamodb),
            sqs: endpoint(self.queues.url()),
            sesv2: endpoint(self.mail.url()),
            sns: endpoint(self.sms.url()),
            events: endpoint(self.bus.url()),
            s3: endpoint(self.buckets.url()),
        }
    }

    /// Takes no more requests and waits a moment for those under way.
    pub async fn stop(&mut self) {
        let Self {
            queues,
            bus,
            mail,
            sms,
            buckets,
        } = self;
        for server in [queues, bus, mail, sms, buckets] {
            server.stop().await;
        }
    }
}

fn endpoint(url: String) -> Endpoint {
    Endpoint {
        url,
        region: REGION.to_owned(),
        access_key_id: ACCESS_KEY.to_owned(),
        secret_access_key: "local".to_owned(),
    }
}

/// What sends webhooks, for real, and notes them; to this machine only if it may.
pub fn webhooks(outbox: &Outbox, to_this_machine: bool) -> Result<Webhooks, StackError> {
    let outbox = outbox.clone();
    let note = move |sent: Sent| {
        outbox.webhook(&Webhook {
            url: sent.url,
            headers: sent.headers.into_iter().collect(),
            body: sent.body,
            status: sent.status,
        });
    };
    let reach = match to_this_machine {
        true => Reach::Local,
        false => Reach::Public,
    };
    Webhooks::new(reach, Some(Arc::new(note))).map_err(StackError::Webhooks)
}
