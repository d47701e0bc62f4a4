// Sign in, find a customer, see it from all sides. Every text comes into the page as text, never as HTML.
"use strict";
const TEXTS = {
  en: {
    signIn: "Sign in", signOut: "Sign out", tenant: "Company (short name)", email: "E-mail", password: "Password",
    newPassword: "New password", newPasswordWhy: "Your password was for one use. Choose your own, at least 12 characters.",
    save: "Save", find: "Find a customer: name, pinyin, phone", nothing: "No customer fits.", other: "中文",
    missing: "Not available now", none: "Nothing yet", customers: "Contacts", leads: "Leads", sales: "Sales",
    marketing: "Marketing", servicedesk: "Service", industry: "Industry", region: "Region", level: "Level", phone: "Phone",
    mail: "E-mail", lastContact: "Last contact", lastDeal: "Last deal", lastService: "Last service",
  },
  zh: {
    signIn: "登录", signOut: "退出", tenant: "公司简称", email: "邮箱", password: "密码", newPassword: "新密码",
    newPasswordWhy: "当前密码只能使用一次。请设置自己的密码，至少 12 个字符。", save: "保存",
    find: "查找客户：名称、拼音、电话", nothing: "没有符合的客户。", other: "English", missing: "暂时无法显示", none: "暂无",
    customers: "联系人", leads: "线索", sales: "销售", marketing: "市场", servicedesk: "服务", industry: "行业", region: "地区",
    level: "等级", phone: "电话", mail: "邮箱", lastContact: "最近联系", lastDeal: "最近成交", lastService: "最近服务",
  },
};
let language = localStorage.getItem("language") || (navigator.language.startsWith("zh") ? "zh" : "en");
let open = null;
const $ = (id) => document.getElementById(id);
const t = (key) => TEXTS[language][key] || key;
function element(tag, text, ...inside) {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  made.append(...inside);
  return made;
}

async function ask(method, path, body, headers = {}) {
  const answer = await fetch(path, {
    method,
    headers: { "X-Kehu-Client": "web", ...(body ? { "Content-Type": "application/json" } : {}), ...headers },
    body: body ? JSON.stringify(body) : undefined,
  });
  const data = answer.headers.get("content-type")?.includes("json") ? await answer.json() : {};
  if (!answer.ok) throw Object.assign(new Error(data.detail || answer.statusText), { status: answer.status, data });
  return data;
}

function translate() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const node of document.querySelectorAll("[data-t]")) node.textContent = t(node.dataset.t);
  for (const node of document.querySelectorAll("[data-hint]")) node.placeholder = node.ariaLabel = t(node.dataset.hint);
  $("language").textContent = t("other");
  $("leave").textContent = t("signOut");
}

function show(...ids) {
  for (const id of ["sign-in", "new-password", "finder", "view"]) $(id).hidden = !ids.includes(id);
}

async function start() {
  try {
    const me = await ask("GET", "/v1/me");
    $("me").textContent = me.person.displayName;
    $("leave").hidden = false;
    if (me.person.mustChangePassword) return show("new-password");
    show("finder", "view");
    await find();
    listen();
  } catch (problem) {
    if (problem.status !== 401) return ($("sign-in").querySelector(".problem").textContent = problem.message), show("sign-in");
    $("me").textContent = "";
    $("leave").hidden = true;
    show("sign-in");
  }
}

function onSubmit(id, act) {
  $(id).addEventListener("submit", async (event) => {
    event.preventDefault();
    const form = event.target;
    form.querySelector(".problem").textContent = "";
    try {
      await act(Object.fromEntries(new FormData(form)));
      form.reset();
      await start();
    } catch (problem) {
      form.querySelector(".problem").textContent = problem.data?.violations?.[0]?.description || problem.message;
    }
  });
}
onSubmit("sign-in", (said) => ask("POST", "/v1/sessions:signIn", said, { "X-Kehu-Session": "cookie" }));
onSubmit("new-password", (said) => ask("POST", "/v1/me:changePassword", { currentPassword: said.current, newPassword: said.next }));
$("leave").addEventListener("click", async () => { await ask("POST", "/v1/sessions:signOut", {}); location.reload(); });
$("language").addEventListener("click", () => {
  language = language === "zh" ? "en" : "zh";
  localStorage.setItem("language", language);
  translate();
  if (open) view(open);
});

let typed;
$("query").addEventListener("input", () => { clearTimeout(typed); typed = setTimeout(find, 200); });
async function find() {
  const query = $("query").value.trim();
  const page = await ask("GET", `/v1/customers?pageSize=20&query=${encodeURIComponent(query)}`);
  const found = page.customers || [];
  $("nothing").hidden = found.length > 0;
  $("found").replaceChildren(...found.map((customer) => {
    const button = element("button", customer.displayName);
    button.addEventListener("click", () => view(customer.id));
    if (customer.id === open) button.setAttribute("aria-current", "true");
    return element("li", "", button);
  }));
}

const shortTime = (text) => (text ? new Date(text).toLocaleDateString(language === "zh" ? "zh-CN" : "en") : "");
const money = (m) => (m ? new Intl.NumberFormat(language, { style: "currency", currency: m.currencyCode }).format(Number(m.units || 0) + (m.nanos || 0) / 1e9) : "");
const plain = (text) => (text || "").replace(/^[A-Z]+(_[A-Z]+)*?_(?=[A-Z]+$)/, "").toLowerCase();
function rows(items) {
  return items.map((item) => element("tr", "",
    element("td", item.displayName || item.name || item.number || item.subject || item.id),
    element("td", [plain(item.status), money(item.amount || item.total), shortTime(item.createTime)].filter(Boolean).join(" · "))));
}
async function view(id) {
  open = id;
  const all = await ask("GET", `/v1/customers/${id}:view360`);
  const c = all.customer;
  const facts = [["industry", c.industry], ["region", c.region], ["level", plain(c.level).toUpperCase()], ["phone", c.phone], ["mail", c.email],
    ["lastContact", shortTime(c.lastContactTime)], ["lastDeal", shortTime(c.lastDealTime)], ["lastService", shortTime(c.lastServiceTime)]];
  const list = element("dl");
  for (const [name, value] of facts) if (value) list.append(element("dt", t(name)), element("dd", value));
  const parts = [element("article", "", element("h1", c.displayName), list)];
  for (const [name, section] of Object.entries(all.sections)) {
    const items = Object.values(section).filter(Array.isArray).flat();
    parts.push(element("article", "", element("h2", t(name)), items.length ? element("table", "", ...rows(items)) : element("p", t("none"))));
  }
  for (const gone of all.missing) {
    if (gone.reason === "MODULE_NOT_INSTALLED") continue; // what the company does not run, nobody misses
    const article = element("article", "", element("h2", t(gone.section)), element("p", `${t("missing")}: ${gone.reason}`));
    article.className = "missing";
    parts.push(article);
  }
  $("view").replaceChildren(...parts);
  find();
}

let heard, soon;
function listen() {
  heard?.close();
  heard = new EventSource("/v1/events:stream");
  const again = () => { clearTimeout(soon); soon = setTimeout(() => (open ? view(open) : find()), 400); };
  for (const kind of ["customers.customer.created", "customers.customer.updated", "customers.contact.created", "sales.order.placed",
    "sales.opportunity.created", "sales.activity.completed", "servicedesk.ticket.opened", "leads.lead.converted"]) heard.addEventListener(kind, again);
}
translate();
start();
