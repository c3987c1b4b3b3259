//! Every server function, with a request that an owner of the scene's organization may make.

use super::scene::Scene;
use super::world::{Answer, Person, World};
use serde_json::{Value, json};
use uuid::Uuid;

/// Whom an address is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Anybody, signed in or not.
    Anybody,
    /// Whoever is signed in, about themselves.
    Person,
    /// Members of the organization that the request names.
    Organization,
}

/// Whether the request names things of the organization beside the organization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    Nothing,
    Records,
}

pub struct Endpoint {
    pub path: &'static str,
    pub method: &'static str,
    pub scope: Scope,
    pub names: Names,
    pub request: fn(&Scene) -> Value,
}

fn read(path: &'static str, scope: Scope, names: Names, request: fn(&Scene) -> Value) -> Endpoint {
    Endpoint { path, method: "GET", scope, names, request }
}

fn write(path: &'static str, scope: Scope, names: Names, request: fn(&Scene) -> Value) -> Endpoint {
    Endpoint { path, method: "POST", scope, names, request }
}

/// All of them, in the order of the product.
pub fn endpoints() -> Vec<Endpoint> {
    use Names::{Nothing, Records};
    use Scope::{Anybody, Organization, Person};
    vec![
        write(
            "/api/session/sign_up",
            Anybody,
            Nothing,
            |_| json!({"name": "Zoe", "email": format!("zoe-{}@millstream.test", Uuid::new_v4().simple()), "password": "short"}),
        ),
        write(
            "/api/session/sign_in",
            Anybody,
            Nothing,
            |scene| json!({"email": scene.owner.email, "password": "wrong"}),
        ),
        write("/api/session/sign_out", Anybody, Nothing, |_| json!({})),
        read("/api/session/me", Person, Nothing, |_| json!({})),
        read("/api/organizations/list", Person, Nothing, |_| json!({})),
        write(
            "/api/organizations/create",
            Person,
            Nothing,
            |_| json!({"mutation_id": Uuid::now_v7(), "id": Uuid::now_v7(), "name": "Another firm"}),
        ),
        read("/api/organizations/invitation", Anybody, Nothing, |scene| json!({"token": scene.token})),
        write(
            "/api/organizations/accept",
            Person,
            Nothing,
            |scene| json!({"mutation_id": Uuid::now_v7(), "token": scene.token}),
        ),
        read("/api/organizations/members", Organization, Nothing, |scene| json!({"organization": scene.organization})),
        write(
            "/api/organizations/invite",
            Organization,
            Nothing,
            |scene| json!({"organization": scene.organization, "mutation_id": Uuid::now_v7(), "role": "viewer"}),
        ),
        write(
            "/api/organizations/set_role",
            Organization,
            Records,
            |scene| json!({"organization": scene.organization, "mutation_id": Uuid::now_v7(), "person_id": scene.other.id, "role": "sales"}),
        ),
        write(
            "/api/organizations/remove_member",
            Organization,
            Records,
            |scene| json!({"organization": scene.organization, "mutation_id": Uuid::now_v7(), "person_id": scene.other.id}),
        ),
        read("/api/customers/list", Organization, Nothing, |scene| json!({"organization": scene.organization})),
        read("/api/orders/list", Organization, Nothing, |scene| json!({"organization": scene.organization})),
        read(
            "/api/orders/get",
            Organization,
            Records,
            |scene| json!({"organization": scene.organization, "id": scene.order}),
        ),
        write("/api/orders/create", Organization, Records, |scene| {
            json!({"organization": scene.organization, "mutation_id": Uuid::now_v7(), "id": Uuid::now_v7(), "title": "New",
                "customer_id": scene.customer})
        }),
        write("/api/orders/update", Organization, Records, |scene| {
            json!({"organization": scene.organization, "mutation_id": Uuid::now_v7(), "id": scene.order,
                "changes": {"title": {"from": "An order", "to": "Renamed"}}})
        }),
        write(
            "/api/orders/delete",
            Organization,
            Records,
            |scene| json!({"organization": scene.organization, "mutation_id": Uuid::now_v7(), "id": scene.order}),
        ),
        write(
            "/api/orders/restore",
            Organization,
            Records,
            |scene| json!({"organization": scene.organization, "mutation_id": Uuid::now_v7(), "id": scene.deleted_order}),
        ),
        write("/api/orders/add_line", Organization, Records, |scene| {
            json!({"organization": scene.organization, "mutation_id": Uuid::now_v7(), "order_id": scene.order, "id": Uuid::now_v7(),
                "description": "New", "quantity": 2})
        }),
        write("/api/orders/update_line", Organization, Records, |scene| {
            json!({"organization": scene.organization, "mutation_id": Uuid::now_v7(), "order_id": scene.order, "id": scene.line,
                "changes": {"quantity": {"from": 1, "to": 3}}})
        }),
        write(
            "/api/orders/remove_line",
            Organization,
            Records,
            |scene| json!({"organization": scene.organization, "mutation_id": Uuid::now_v7(), "order_id": scene.order, "id": scene.line}),
        ),
        read("/api/projects/list", Organization, Nothing, |scene| json!({"organization": scene.organization})),
        read(
            "/api/projects/get",
            Organization,
            Records,
            |scene| json!({"organization": scene.organization, "id": scene.project}),
        ),
        write(
            "/api/projects/create",
            Organization,
            Nothing,
            |scene| json!({"organization": scene.organization, "mutation_id": Uuid::now_v7(), "id": Uuid::now_v7(), "name": "New"}),
        ),
        write("/api/projects/update", Organization, Records, |scene| {
            json!({"organization": scene.organization, "mutation_id": Uuid::now_v7(), "id": scene.project,
                "changes": {"name": {"from": "A project", "to": "Renamed"}}})
        }),
        write(
            "/api/projects/delete",
            Organization,
            Records,
            |scene| json!({"organization": scene.organization, "mutation_id": Uuid::now_v7(), "id": scene.project}),
        ),
        write(
            "/api/projects/restore",
            Organization,
            Records,
            |scene| json!({"organization": scene.organization, "mutation_id": Uuid::now_v7(), "id": scene.deleted_project}),
        ),
        write("/api/projects/add_member", Organization, Records, |scene| {
            json!({"organization": scene.organization, "mutation_id": Uuid::now_v7(), "project_id": scene.project,
                "person_id": scene.other.id})
        }),
        write("/api/projects/remove_member", Organization, Records, |scene| {
            json!({"organization": scene.organization, "mutation_id": Uuid::now_v7(), "project_id": scene.project,
                "person_id": scene.colleague.id})
        }),
        write("/api/projects/add_order", Organization, Records, |scene| {
            json!({"organization": scene.organization, "mutation_id": Uuid::now_v7(), "project_id": scene.project,
                "order_id": scene.other_order})
        }),
        write("/api/projects/remove_order", Organization, Records, |scene| {
            json!({"organization": scene.organization, "mutation_id": Uuid::now_v7(), "project_id": scene.project,
                "order_id": scene.order})
        }),
    ]
}

impl Endpoint {
    /// Sends this request to it.
    pub async fn send(&self, world: &World, who: Option<&Person>, request: &Value) -> Answer {
        if self.method == "POST" {
            return world.post(who, self.path, request).await;
        }
        let fields = request.as_object().into_iter().flatten();
        let query: Vec<_> = fields
            .map(|(name, value)| (name.clone(), value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)))
            .collect();
        world.get(who, self.path, &query).await
    }
}

/// The request with one field replaced.
pub fn with(request: &Value, field: &str, value: Value) -> Value {
    let mut request = request.clone();
    request[field] = value;
    request
}

/// The request without one field.
pub fn without(request: &Value, field: &str) -> Value {
    let mut request = request.clone();
    if let Some(fields) = request.as_object_mut() {
        fields.remove(field);
    }
    request
}

/// What a route answers, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Server functions: they are in the list above.
    Functions,
    /// The live connection: `live.rs`, `polling.rs` and `presence.rs` say who is told what.
    Live,
    /// A page that shows what is an organization's to its members.
    Page,
    /// A page that shows nothing but the person's own.
    PersonalPage,
    /// The same for everybody.
    Public,
}

/// The routes of the server that are no server functions, with the methods that they take (`*` for any).
pub fn routes() -> Vec<(&'static str, &'static str, Kind)> {
    vec![
        ("/api", "*", Kind::Functions),
        ("/api/", "*", Kind::Functions),
        ("/api/{*path}", "*", Kind::Functions),
        ("/live", "GET,HEAD,POST", Kind::Live),
        ("/", "GET,HEAD", Kind::PersonalPage),
        ("/sign-in", "GET,HEAD", Kind::PersonalPage),
        ("/sign-up", "GET,HEAD", Kind::PersonalPage),
        ("/organizations", "GET,HEAD", Kind::PersonalPage),
        ("/join/{token}", "GET,HEAD", Kind::PersonalPage),
        // Shows the shell alone, and leads on to the orders.
        ("/o/{organization}", "GET,HEAD", Kind::PersonalPage),
        ("/o/{organization}/orders", "GET,HEAD", Kind::Page),
        ("/o/{organization}/orders/{order}", "GET,HEAD", Kind::Page),
        ("/o/{organization}/projects", "GET,HEAD", Kind::Page),
        ("/o/{organization}/projects/{project}", "GET,HEAD", Kind::Page),
        ("/o/{organization}/members", "GET,HEAD", Kind::Page),
        ("/healthz", "GET,HEAD", Kind::Public),
        ("/readyz", "GET,HEAD", Kind::Public),
        ("/metrics", "GET,HEAD", Kind::Public),
        ("/shell", "GET,HEAD", Kind::Public),
        ("/sw.js", "GET,HEAD", Kind::Public),
        ("/pkg", "*", Kind::Public),
        ("/pkg/", "*", Kind::Public),
        ("/pkg/{*__private__axum_nest_tail_param}", "*", Kind::Public),
        // Whatever is no route: public files, and the page that says that there is nothing.
        ("/", "*", Kind::PersonalPage),
        ("/{*__private__axum_fallback}", "*", Kind::PersonalPage),
    ]
}
