//! What the demonstration holds: a joinery and a foundry, made up. Everything follows from a counter and the day; no
//! clock, no chance.

use time::{Date, Duration, OffsetDateTime};
use uuid::{Builder, Uuid};

/// Organization, email, name, role.
pub(super) const PEOPLE: [(usize, &str, &str, &str); 8] = [
    (NORTHMILL, "ada@demo.test", "Ada Northmill", "owner"),
    (NORTHMILL, "ben@demo.test", "Ben Okafor", "planner"),
    (NORTHMILL, "cleo@demo.test", "Cleo Marsh", "sales"),
    (NORTHMILL, "dan@demo.test", "Dan Petrov", "operator"),
    (NORTHMILL, "fay@demo.test", "Fay Lindqvist", "viewer"),
    (NORTHMILL, "gus@demo.test", "Gus Harrow", "buyer"),
    (WEIR, "eve@other.test", "Eve Weir", "owner"),
    (WEIR, "hal@other.test", "Hal Weir", "planner"),
];

const NORTHMILL: usize = 0;
const WEIR: usize = 1;
const DAYS: i64 = 90;

pub(super) struct Content {
    pub(super) began: OffsetDateTime,
    pub(super) people: Vec<Person>,
    pub(super) organizations: Vec<Organization>,
}

pub(super) struct Person {
    pub(super) id: Uuid,
    pub(super) email: &'static str,
    pub(super) name: &'static str,
}

pub(super) struct Organization {
    pub(super) id: Uuid,
    pub(super) name: &'static str,
    /// The owner first.
    pub(super) members: Vec<Member>,
    /// Who makes orders.
    pub(super) makers: Vec<Uuid>,
    pub(super) customers: Vec<Customer>,
    /// The oldest first.
    pub(super) orders: Vec<Order>,
    pub(super) lines: Vec<Line>,
    pub(super) projects: Vec<Project>,
    pub(super) project_members: Vec<Join>,
    pub(super) project_orders: Vec<Join>,
}

pub(super) struct Member {
    pub(super) person: Uuid,
    pub(super) role: &'static str,
    pub(super) customer: Option<Uuid>,
}

pub(super) struct Customer {
    pub(super) id: Uuid,
    pub(super) name: String,
    pub(super) created_at: OffsetDateTime,
}

pub(super) struct Order {
    pub(super) id: Uuid,
    pub(super) title: String,
    pub(super) status: &'static str,
    pub(super) customer: Uuid,
    pub(super) assignee: Option<Uuid>,
    pub(super) due_on: Option<Date>,
    pub(super) created_at: OffsetDateTime,
}

pub(super) struct Line {
    pub(super) id: Uuid,
    pub(super) order: Uuid,
    pub(super) position: i32,
    pub(super) description: &'static str,
    pub(super) quantity: i32,
    pub(super) unit: &'static str,
    pub(super) created_at: OffsetDateTime,
}

pub(super) struct Project {
    pub(super) id: Uuid,
    pub(super) name: &'static str,
    pub(super) created_at: OffsetDateTime,
}

/// A row of a junction: the project, and whom or what it joins.
pub(super) struct Join {
    pub(super) id: Uuid,
    pub(super) project: Uuid,
    pub(super) other: Uuid,
}

/// The trade of an organization.
struct Trade {
    name: &'static str,
    places: &'static [&'static str],
    firms: &'static [&'static str],
    things: &'static [&'static str],
    wheres: &'static [&'static str],
    parts: &'static [(&'static str, &'static str, u64)],
    projects: &'static [&'static str],
    orders: usize,
}

const TRADES: [Trade; 2] = [
    Trade {
        name: "Northmill Joinery",
        places: &["Alder", "Bridgewater", "Carrow", "Dunmore", "Eastgate", "Fernhill"],
        firms: &["Architects", "Hotels", "Builders", "School Trust", "Interiors"],
        things: &[
            "Oak stair treads",
            "Sash windows",
            "Reception desk",
            "Walnut wall panelling",
            "Fire doors FD30",
            "Bay window seat",
            "Ash handrail",
            "Library shelving",
            "Bar counter",
            "Oak skirting",
            "Entrance doors",
            "Built-in wardrobes",
            "Kitchen fronts",
            "Acoustic slat wall",
            "Garden room frames",
        ],
        wheres: &[
            "ground floor",
            "first floor",
            "east wing",
            "main hall",
            "plot 7",
            "flat 12",
            "showroom",
            "chapel",
            "annex",
        ],
        parts: &[
            ("Oak tread 280 x 1000 x 32, oiled", "pcs", 18),
            ("Riser, white primed", "pcs", 18),
            ("Sash frame, accoya, glazed 4-16-4", "pcs", 9),
            ("Walnut veneered panel 18 mm", "m2", 40),
            ("Solid ash handrail 54 mm", "m", 24),
            ("Door leaf FD30, oak faced", "pcs", 12),
            ("Ironmongery set, satin steel", "set", 12),
            ("Intumescent strip", "m", 60),
            ("Shelf, birch ply 24 mm, lipped", "pcs", 45),
            ("Fitting on site", "h", 16),
            ("Survey and drawings", "h", 6),
            ("Hard wax oil, two coats", "m2", 35),
        ],
        projects: &[
            "Bridgewater Hotel refit",
            "Carrow School library",
            "Eastgate housing, phase 2",
            "Alder House stairs",
            "Fernhill chapel doors",
            "Showroom 2027",
            "Dunmore offices, level 3",
            "Spring windows round",
            "Harbour bar",
        ],
        orders: 300,
    },
    Trade {
        name: "Weir & Sons Castings",
        places: &["Keld", "Ravens", "Stone", "Tarn"],
        firms: &["Pumps", "Valves", "Rail", "Marine"],
        things: &[
            "Pump housing",
            "Bearing block",
            "Valve body DN80",
            "Flywheel",
            "Bollard heads",
            "Gearbox cover",
            "Brake disc blank",
            "Manifold",
            "Counterweight",
            "Impeller",
        ],
        wheres: &[
            "EN-GJL-250",
            "EN-GJS-400",
            "bronze CC491K",
            "first article",
            "repeat batch",
            "spare part",
            "trial pour",
        ],
        parts: &[
            ("Casting, raw", "pcs", 40),
            ("Casting, machined to drawing", "pcs", 20),
            ("Core box", "pcs", 2),
            ("Pattern repair", "h", 8),
            ("Shot blasting", "kg", 400),
            ("Dye penetrant test", "pcs", 20),
            ("Material certificate 3.1", "pcs", 1),
            ("Priming, grey", "pcs", 40),
        ],
        projects: &["Keld pump series", "Pattern store tidy-up", "Rail brake programme"],
        orders: 100,
    },
];

/// Names and weights in per cent.
const STATUSES: [(&str, u64); 9] = [
    ("draft", 10),
    ("needs_approval", 8),
    ("released", 14),
    ("in_production", 22),
    ("ready_to_ship", 9),
    ("shipped", 12),
    ("completed", 17),
    ("on_hold", 5),
    ("cancelled", 3),
];

impl Content {
    pub(super) fn around(now: OffsetDateTime) -> Self {
        let began = now - Duration::days(DAYS + 1);
        let mut dice = Dice(0);
        let people: Vec<_> =
            PEOPLE.iter().map(|(_, email, name, _)| Person { id: dice.id(began), email, name }).collect();
        let organizations = TRADES.iter().enumerate().map(|(number, trade)| {
            let members = PEOPLE.iter().zip(&people).filter(|((of, ..), _)| *of == number);
            let members = members.map(|((_, _, _, role), person)| (person.id, *role)).collect();
            organization(trade, members, now, &mut dice)
        });
        let organizations = organizations.collect();
        Self { began, people, organizations }
    }
}

fn organization(
    trade: &Trade,
    members: Vec<(Uuid, &'static str)>,
    now: OffsetDateTime,
    dice: &mut Dice,
) -> Organization {
    let began = now - Duration::days(DAYS);
    let id = dice.id(began);
    let mut customers = Vec::new();
    for place in trade.places {
        for firm in trade.firms {
            customers.push(Customer { id: dice.id(began), name: format!("{place} {firm}"), created_at: began });
        }
    }
    // Thirty and ten: together with Weir's ten there are forty.
    customers.truncate(trade.orders / 10);
    let with = |roles: &[&str]| -> Vec<Uuid> {
        members.iter().filter(|(_, role)| roles.contains(role)).map(|(person, _)| *person).collect()
    };
    let makers = with(&["owner", "planner", "sales"]);
    let workers = with(&["planner", "sales", "operator", "owner"]);

    let mut orders = Vec::new();
    let mut lines = Vec::new();
    for number in 0..trade.orders {
        let made = spread(began, now, number, trade.orders);
        let order = order(trade, &customers, &workers, made, now, dice);
        for position in 0..=dice.below(5) {
            lines.push(line(trade, &order, position, dice));
        }
        orders.push(order);
    }
    let mut organization = Organization {
        id,
        name: trade.name,
        members: Vec::new(),
        makers,
        customers,
        orders,
        lines,
        projects: Vec::new(),
        project_members: Vec::new(),
        project_orders: Vec::new(),
    };
    for (number, name) in trade.projects.iter().enumerate() {
        let made = spread(began, now, number, trade.projects.len());
        project(&mut organization, name, made, &workers, dice);
    }
    organization.members = members
        .into_iter()
        .map(|(person, role)| Member {
            person,
            role,
            customer: (role == "buyer").then(|| organization.customers[0].id),
        })
        .collect();
    organization
}

/// The moment of one of `count` things between two moments, in working hours only roughly.
fn spread(began: OffsetDateTime, now: OffsetDateTime, number: usize, count: usize) -> OffsetDateTime {
    let whole = (now - began).whole_seconds();
    let share = i64::try_from(number * 1000 / count.max(1)).unwrap_or(0);
    began + Duration::seconds(whole * share / 1000 + i64::try_from(number).unwrap_or(0))
}

fn order(
    trade: &Trade,
    customers: &[Customer],
    workers: &[Uuid],
    created_at: OffsetDateTime,
    now: OffsetDateTime,
    dice: &mut Dice,
) -> Order {
    let age = (now - created_at).whole_days();
    let status = status(age, dice);
    let thing = dice.of(trade.things);
    let place = dice.of(trade.wheres);
    let is_open = !matches!(status, "shipped" | "completed" | "cancelled");
    // What is open is due around today, some of it late; what is done was due when it was done.
    let due = if is_open {
        now.date() + Duration::days(dice.between(-12, 45))
    } else {
        created_at.date() + Duration::days(dice.between(7, 35))
    };
    Order {
        id: dice.id(created_at),
        title: format!("{thing}, {place}"),
        status,
        customer: dice.of(customers).id,
        assignee: (status != "draft" && dice.below(6) > 0).then(|| *dice.of(workers)),
        due_on: (status != "draft" || dice.below(2) > 0).then_some(due),
        created_at,
    }
}

/// By the weights; what is young has not got far yet.
fn status(age_in_days: i64, dice: &mut Dice) -> &'static str {
    let mut left = dice.below(100);
    let mut found = STATUSES[0].0;
    for (status, weight) in STATUSES {
        found = status;
        if left < weight {
            break;
        }
        left -= weight;
    }
    match found {
        "shipped" | "completed" if age_in_days < 10 => "released",
        "ready_to_ship" if age_in_days < 5 => "needs_approval",
        "draft" if age_in_days > 30 => "in_production",
        other => other,
    }
}

fn line(trade: &Trade, order: &Order, position: u64, dice: &mut Dice) -> Line {
    let (description, unit, most) = *dice.of(trade.parts);
    Line {
        id: dice.id(order.created_at),
        order: order.id,
        position: i32::try_from(position + 1).unwrap_or(1),
        description,
        quantity: i32::try_from(1 + dice.below(most)).unwrap_or(1),
        unit,
        created_at: order.created_at,
    }
}

fn project(
    organization: &mut Organization,
    name: &'static str,
    created_at: OffsetDateTime,
    workers: &[Uuid],
    dice: &mut Dice,
) {
    let project = Project { id: dice.id(created_at), name, created_at };
    for person in workers {
        // The first always, so that nobody's project is empty.
        if *person == workers[0] || dice.below(2) > 0 {
            organization.project_members.push(Join { id: dice.id(created_at), project: project.id, other: *person });
        }
    }
    let count = 3 + dice.below(6) as usize;
    let first = dice.below((organization.orders.len() - count) as u64) as usize;
    for order in &organization.orders[first..first + count] {
        organization.project_orders.push(Join { id: dice.id(created_at), project: project.id, other: order.id });
    }
    organization.projects.push(project);
}

/// A counter that looks like chance (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound.max(1)
    }

    fn between(&mut self, least: i64, most: i64) -> i64 {
        least + self.below(most.abs_diff(least) + 1) as i64
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }

    /// A UUIDv7, as clients make them.
    fn id(&mut self, at: OffsetDateTime) -> Uuid {
        let milliseconds = u64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
        let mut random = [0; 10];
        random[..8].copy_from_slice(&self.roll().to_be_bytes());
        random[8..].copy_from_slice(&self.roll().to_be_bytes()[..2]);
        Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn content() -> Content {
        Content::around(OffsetDateTime::from_unix_timestamp(1_795_000_000).unwrap())
    }

    #[test]
    fn there_is_as_much_as_promised() {
        let organizations = content().organizations;
        let count = |of: fn(&Organization) -> usize| organizations.iter().map(of).sum::<usize>();
        assert_eq!(count(|o| o.customers.len()), 40);
        assert_eq!(count(|o| o.orders.len()), 400);
        assert_eq!(count(|o| o.projects.len()), 12);
        assert_eq!(count(|o| o.members.len()), 8);
        let lines = count(|o| o.lines.len());
        assert!((400..=2000).contains(&lines), "{lines}");
    }

    #[test]
    fn it_is_varied_and_within_the_schemas_bounds() {
        let content = content();
        let mut ids = HashSet::new();
        for organization in &content.organizations {
            let statuses: HashSet<_> = organization.orders.iter().map(|o| o.status).collect();
            assert_eq!(statuses.len(), STATUSES.len(), "{}", organization.name);
            let titles: HashSet<_> = organization.orders.iter().map(|o| &o.title).collect();
            assert!(titles.len() > 40, "{}", titles.len());
            assert!(organization.orders.iter().any(|o| o.assignee.is_none()));
            for order in &organization.orders {
                assert!(ids.insert(order.id) && order.title.len() <= 200);
            }
            assert!(organization.orders.windows(2).all(|two| two[0].created_at < two[1].created_at));
            assert!(organization.lines.iter().all(|l| ids.insert(l.id) && l.quantity > 0));
        }
    }

    #[test]
    fn it_is_the_same_every_time() {
        let (one, other) = (content(), content());
        let titles = |content: &Content| -> Vec<(Uuid, String)> {
            content.organizations.iter().flat_map(|o| &o.orders).map(|o| (o.id, o.title.clone())).collect()
        };
        assert_eq!(titles(&one), titles(&other));
    }

    #[test]
    fn the_buyer_is_bound_to_a_customer_and_nobody_else_is() {
        for organization in content().organizations {
            for member in &organization.members {
                assert_eq!(member.customer.is_some(), member.role == "buyer");
            }
        }
    }
}
