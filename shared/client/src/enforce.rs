//! A verdict before the work, and what follows after it: check, consume, reserve.

use std::sync::Arc;

use crate::{
    api::{Commit, NewReservation, Reserved, Tracked, Whose},
    error::{Error, Problem},
    metering::{Caller, Metering},
    outage::Outages,
    record::Record,
    refusal::Refusal,
    sender::{Handed, Permit},
    types::Quantity,
    usage::Usage,
};

/// What a piece of work takes: so much of a metric.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Demand {
    pub(crate) caller: Caller,
    pub(crate) metric: Arc<str>,
    pub(crate) quantity: Quantity,
    /// How long a hold lasts if nobody settles it.
    pub(crate) ttl_seconds: Option<u64>,
}

impl Demand {
    /// The demand as an event, with a new identity.
    pub(crate) fn usage(&self, quantity: Quantity) -> Usage {
        let mut usage = Usage::new(&*self.caller.user_id, &*self.metric, quantity);
        usage.subscription_id = self.caller.subscription_id.as_deref().map(str::to_owned);
        usage
    }
}

/// A quantity that is held. Dropped, it is given back: by a failure, a panic, a cancellation.
pub(crate) struct Hold {
    /// Until it is settled.
    open: Option<Open>,
}

struct Open {
    /// Its place in the queue, so that its settlement cannot be refused.
    permit: Permit,
    demand: Demand,
    ground: Ground,
}

/// Who granted it.
enum Ground {
    /// The service, under this id.
    Service(String),
    /// The local allowance.
    Local(Arc<Outages>),
}

impl Hold {
    pub(crate) fn metric(&self) -> Option<&str> {
        self.open.as_ref().map(|open| &*open.demand.metric)
    }

    /// Counts what was used; as held if it does not say.
    pub(crate) fn commit(mut self, used: Commit) {
        let Some(open) = self.open.take() else {
            return;
        };
        let quantity = used.quantity.unwrap_or(open.demand.quantity);
        let mut usage = open.demand.usage(quantity);
        usage.endpoint.clone_from(&used.endpoint);
        usage.operation.clone_from(&used.operation);
        usage.response_time_ms = used.response_time_ms;
        usage.error_occurred = used.error_occurred;
        let record = match open.ground {
            Ground::Service(id) => {
                usage.idempotency_key = format!("expired-{id}");
                let used = Commit {
                    quantity: Some(quantity),
                    ..used
                };
                Record::Commit {
                    id,
                    used: Box::new(used),
                    usage: Box::new(usage),
                }
            }
            Ground::Local(outages) => {
                if *quantity < *open.demand.quantity {
                    outages.unused(&open.demand.metric, Quantity(*open.demand.quantity - *quantity));
                }
                Record::Track {
                    usage: Box::new(usage),
                    local: true,
                }
            }
        };
        open.permit.hand_at_once(record);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let Some(open) = self.open.take() else {
            return;
        };
        match open.ground {
            Ground::Service(id) => open.permit.hand_at_once(Record::Release { id }),
            Ground::Local(outages) => outages.unused(&open.demand.metric, open.demand.quantity),
        }
    }
}

impl Metering {
    /// Whether there is room for a demand at this moment.
    pub(crate) async fn check_now(&self, demand: &Demand) -> Result<(), Refusal> {
        let whose = Whose {
            user_id: Some(demand.caller.user_id.to_string()),
            subscription_id: demand.caller.subscription_id.as_deref().map(str::to_owned),
        };
        let asked = async {
            let verdict = self.asking.check_quota(&whose, &demand.metric, demand.quantity).await?;
            if verdict.is_available {
                return Ok(Ok(()));
            }
            Ok(Err(Box::new(Problem::no_room(verdict))))
        };
        match self.ask(asked).await {
            Some(verdict) => verdict,
            None => {
                self.decide(demand)?;
                // Nothing is used by a look.
                self.outages.unused(&demand.metric, demand.quantity);
                Ok(())
            }
        }
    }

    /// Counts a demand, whole or not at all. In an outage that its policy bridges, the same event is
    /// told later: if the service had counted it after all, it is the same event.
    pub(crate) async fn consume_now(&self, demand: &Demand, usage: Usage) -> Result<(), Refusal> {
        let asked = async {
            match self.asking.track(&usage).await? {
                Tracked::Counted(_) => Ok(Ok(())),
                Tracked::Denied(problem) => Ok(Err(problem)),
            }
        };
        if let Some(verdict) = self.ask(asked).await {
            return verdict;
        }
        let permit = self.sender.try_permit().map_err(|_| Refusal::unavailable())?;
        self.decide(demand)?;
        let usage = Box::new(usage);
        permit.hand(Handed::One(Box::new(Record::Track { usage, local: true })));
        Ok(())
    }

    /// Holds a demand. Cancelled while it is asked for, it is given back once it is there.
    pub(crate) async fn reserve_now(&self, demand: Demand) -> Result<Hold, Refusal> {
        let metering = self.clone();
        let task = tokio::spawn(async move { metering.reserve_to_the_end(demand).await });
        match task.await {
            Ok(held) => held,
            // The runtime ends.
            Err(_) => Err(Refusal::unavailable()),
        }
    }

    async fn reserve_to_the_end(self, demand: Demand) -> Result<Hold, Refusal> {
        let permit = self.sender.permit().await.map_err(|_| Refusal::unavailable())?;
        let mut wanted = NewReservation::new(&*demand.caller.user_id, &*demand.metric, demand.quantity);
        wanted.subscription_id = demand.caller.subscription_id.as_deref().map(str::to_owned);
        wanted.ttl_seconds = demand.ttl_seconds;
        let asked = async {
            match self.asking.reserve(&wanted).await? {
                Reserved::Held(reservation) => Ok(Ok(reservation.id)),
                Reserved::Denied(problem) => Ok(Err(problem)),
            }
        };
        let ground = match self.ask(asked).await {
            Some(verdict) => Ground::Service(verdict?),
            None => {
                self.decide(&demand)?;
                Ground::Local(Arc::clone(&self.outages))
            }
        };
        let open = Some(Open { permit, demand, ground });
        Ok(Hold { open })
    }

    /// The service's verdict; none if it gives none.
    async fn ask<T>(
        &self,
        asked: impl Future<Output = Result<Result<T, Box<Problem>>, Error>>,
    ) -> Option<Result<T, Refusal>> {
        if !self.outages.may_ask() {
            return None;
        }
        let answer = asked.await;
        if let Err(error) = &answer
            && error.is_temporary()
        {
            self.outages.failed(error);
            return None;
        }
        self.outages.answered();
        Some(match answer {
            Ok(Ok(granted)) => Ok(granted),
            Ok(Err(problem)) => Err(Refusal::denied(problem)),
            Err(error) => Err(Refusal::wrong(error)),
        })
    }

    fn decide(&self, demand: &Demand) -> Result<(), Refusal> {
        if self.outages.allows(&demand.metric, demand.quantity) {
            Ok(())
        } else {
            Err(Refusal::unavailable())
        }
    }
}
