//! Statements of random plans and random usage, computed again from the listed events alone, in whole
//! numbers.

use serde_json::{Value, json};

use crate::{
    period_close::{line, now, statements},
    support::{Client, SERVICE},
};

const SUMS: [&str; 3] = ["api_calls", "document_processing", "bandwidth_usage"];
const STORAGE: &str = "storage_usage";
const PLANS: u64 = 10;

/// Numbers that are the same at every run (Knuth's MMIX generator).
struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

/// Terms in thousandths of a unit and in hundredths of a cent.
#[derive(Debug, Clone, Copy)]
struct Terms {
    limit: i128,
    most: Option<i128>,
    price: i128,
    block: Option<i128>,
    allowed: bool,
}

impl Terms {
    fn random(random: &mut Random) -> Self {
        let mut below = |most| i128::from(random.below(most));
        Self {
            limit: below(20_000),
            most: (below(2) == 0).then(|| below(9_000)),
            price: below(40_000),
            block: (below(2) == 0).then(|| below(3_000) + 1),
            allowed: below(5) > 0,
        }
    }

    fn body(self) -> Value {
        let text = |number: i128, places: usize| {
            let unit = 10_i128.pow(u32::try_from(places).expect("few"));
            format!("{}.{:0places$}", number / unit, number % unit)
        };
        json!({"quota_limit": text(self.limit, 3), "allow_overage": self.allowed, "overage_price": text(self.price, 4),
            "block_size": self.block.map(|block| text(block, 3)), "overage_limit": self.most.map(|most| text(most, 3))})
    }

    /// Whole cents, half even.
    fn cents(self, billed: i128) -> i128 {
        let over = (billed - self.limit).max(0);
        let charged = match (self.allowed, self.most) {
            (false, _) => 0,
            (true, Some(most)) => over.min(most),
            (true, None) => over,
        };
        let exact = match self.block {
            Some(block) => (charged + block - 1) / block * self.price * 1_000,
            None => charged * self.price,
        };
        let (whole, rest) = (exact / 100_000, exact % 100_000);
        whole + i128::from(rest > 50_000 || (rest == 50_000 && whole % 2 == 1))
    }
}

/// A JSON number as so many parts of a unit; nothing is 0.
fn parts(number: &Value, places: usize) -> i128 {
    if number.is_null() {
        return 0;
    }
    let text = number.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    format!("{whole}{fraction:0<places$}").parse().expect("a number")
}

async fn events(client: &Client, user: &str, metric: &str) -> Vec<Value> {
    let path = format!("/api/v1/usage/events?user_id={user}&metric_type={metric}&from=2026-03-01T00:00:00Z&limit=200");
    client.get(&path, SERVICE).await.body["events"]
        .as_array()
        .expect("events")
        .clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn random_plans_are_billed_as_whole_numbers_say() {
    let client = Client::start().await;
    now(&client, "2026-03-10T12:00:00Z").await;
    let mut random = Random(20_260_310);
    let mut made = Vec::new();
    for number in 0..PLANS {
        let (plan, user) = (format!("plan{number}"), format!("u{number}"));
        let terms: Vec<(&str, Terms)> = SUMS
            .into_iter()
            .chain([STORAGE])
            .map(|metric| (metric, Terms::random(&mut random)))
            .collect();
        let quotas: serde_json::Map<String, Value> = terms
            .iter()
            .map(|(metric, terms)| ((*metric).to_owned(), terms.body()))
            .collect();
        let put = client
            .put(
                &format!("/api/v1/usage/admin/plans/{plan}"),
                json!({"name": plan, "currency": "EUR", "quotas": quotas}),
            )
            .await;
        assert_eq!(put.status, 200, "{put:?}");
        client.subscribe(&user, &plan).await;
        for (metric, _) in &terms {
            for _ in 0..random.below(8) {
                let thousandths = random.below(9_000);
                let value = format!("{}.{:03}", thousandths / 1_000, thousandths % 1_000);
                let mut event =
                    json!({"user_id": user, "metric_type": metric, "metric_value": value, "enforce": false});
                if *metric == STORAGE {
                    event["mode"] = json!("level");
                }
                assert_eq!(client.track(event).await.status, 201);
            }
        }
        made.push((user, terms));
    }
    now(&client, "2026-04-02T00:00:00Z").await;
    let mut charged = 0;
    for (user, terms) in made {
        let statement = statements(&client, &format!("user_id={user}")).await.remove(0);
        let mut total = 0;
        for (metric, terms) in terms {
            let values = events(&client, &user, metric).await;
            let values = values.iter().map(|event| parts(&event["metric_value"], 3));
            let billed: i128 = if metric == STORAGE {
                values.max().unwrap_or(0)
            } else {
                values.sum()
            };
            let cost = terms.cents(billed);
            let shown = line(&statement, metric);
            assert_eq!(
                parts(&shown["cost"], 2),
                cost,
                "{user} {metric} {billed} {terms:?}: {shown}"
            );
            total += cost;
        }
        assert_eq!(parts(&statement["total_cost"], 2), total, "{user}: {statement}");
        charged += usize::from(total > 0);
    }
    assert!(charged > 3, "{charged} of the plans charge something");
}
