// Commands: a form for each that a device declared, and what became of the runs. Names are written with textContent only.

const RUNS_MAX = 20;
const FINAL = ["succeeded", "failed", "expired"];

export class Commands {
  constructor(room, make) {
    this.room = room;
    this.make = make;
    this.manifests = new Map(); // source_id -> entries
    this.runs = new Map(); // run_id -> run, oldest first
    this.drawn = "";
    this.key = this.field("password", "API key with the scope commands");
    this.key.autocomplete = "off";
    this.forms = make("div", "forms");
    this.list = make("ol", "events runs");
    this.room.append(this.labelled("API key", "kept by this page only, until it is closed", this.key), this.forms, this.list);
  }

  takeInit(manifests) {
    this.manifests = new Map(Object.entries(manifests || {}));
  }

  takeStatus(message) {
    if (message.status === "online" && message.commands) this.manifests.set(message.source_id, message.commands);
    else this.manifests.delete(message.source_id);
  }

  takeRun(run) {
    this.runs.delete(run.run_id);
    this.runs.set(run.run_id, run);
    for (const id of this.runs.keys()) if (this.runs.size > RUNS_MAX) this.runs.delete(id);
  }

  // Forms are made anew only when they change: somebody may be typing.
  draw(chosen) {
    const shown = [...this.manifests].filter(([source]) => chosen === null || source === chosen).sort();
    const runs = [...this.runs.values()].reverse().filter((run) => chosen === null || run.source_id === chosen);
    this.room.hidden = !shown.length && !runs.length;
    const wanted = JSON.stringify(shown);
    if (wanted !== this.drawn) {
      this.drawn = wanted;
      this.forms.replaceChildren(...shown.flatMap(([source, entries]) => entries.map((entry) => this.form(source, entry))));
    }
    this.list.hidden = !runs.length;
    this.list.replaceChildren(...runs.map((run) => this.row(run)));
  }

  row(run) {
    const item = this.make("li", FINAL.includes(run.state) ? run.state : "open");
    const progress = run.progress !== undefined && !FINAL.includes(run.state) ? ` ${Math.round(run.progress)} %` : "";
    const said = run.error_code ? `${run.error_code}: ${run.error_message || ""}` : run.result ? JSON.stringify(run.result) : run.message || "";
    const time = new Date(run.created_ms).toTimeString().slice(0, 8);
    item.append(this.make("span", "quiet", time), this.make("span", "", run.source_id));
    item.append(this.make("span", "", `${run.command}: ${run.state}${progress}`), this.make("span", "body", said));
    return item;
  }

  field(type, label) {
    const input = this.make("input");
    input.type = type;
    input.setAttribute("aria-label", label);
    return input;
  }

  labelled(title, hint, input) {
    const label = this.make("label", "field");
    label.append(this.make("span", "", title), input);
    if (hint) label.append(this.make("span", "seen", hint));
    return label;
  }

  form(source, entry) {
    const form = this.make("form", `command ${entry.danger}`);
    const title = this.make("h3", "", entry.title || entry.name);
    title.append(this.make("span", "unit", source));
    const inputs = Object.entries(entry.params).map(([name, spec]) => [name, spec, this.input(name, spec)]);
    const button = this.make("button", "", entry.title || entry.name);
    const told = this.make("p", "seen");
    told.setAttribute("role", "status");
    form.append(title);
    if (entry.description) form.append(this.make("p", "seen", entry.description));
    for (const [name, spec, input] of inputs) {
      const unit = spec.unit ? ` (${spec.unit})` : "";
      form.append(this.labelled((spec.title || name) + unit, spec.description, input));
    }
    form.append(button, told);
    form.onsubmit = (event) => {
      event.preventDefault();
      const send = () => this.send(source, entry.name, inputs, told);
      if (entry.danger === "normal") send();
      else this.confirm(form, source, entry, button, send);
    };
    return form;
  }

  input(name, spec) {
    const input = spec.enum ? this.make("select") : this.field({ string: "text", boolean: "checkbox" }[spec.type] || "number", name);
    input.name = name;
    if (spec.enum) {
      if (!spec.required && spec.default === undefined) input.append(new Option("", ""));
      for (const choice of spec.enum) input.append(new Option(choice, choice));
    }
    if (spec.type === "integer" || spec.type === "number") {
      input.step = spec.type === "integer" ? "1" : "any";
      if (spec.minimum !== undefined) input.min = String(spec.minimum);
      if (spec.maximum !== undefined) input.max = String(spec.maximum);
    }
    if (spec.maxLength !== undefined) input.maxLength = spec.maxLength;
    if (spec.type === "boolean") input.checked = spec.default === true;
    else if (spec.default !== undefined) input.value = String(spec.default);
    if (spec.required && spec.type !== "boolean") input.required = true;
    return input;
  }

  // Dangerous ones are asked for twice; critical ones want the device's name typed.
  confirm(form, source, entry, button, send) {
    form.querySelector(".confirm")?.remove();
    const panel = this.make("div", "confirm");
    const typed = this.field("text", "name of the device");
    const yes = this.make("button", "yes", `Yes: ${entry.title || entry.name}`);
    const no = this.make("button", "no", "No");
    yes.type = no.type = "button";
    const close = () => { panel.remove(); button.disabled = false; };
    yes.onclick = () => {
      if (entry.danger === "critical" && typed.value !== source) return typed.focus();
      close();
      send();
    };
    no.onclick = close;
    button.disabled = true;
    if (entry.danger === "critical") panel.append(this.labelled(`Type ${source} to go on`, "", typed));
    panel.append(yes, no);
    form.append(panel);
  }

  async send(source, command, inputs, told) {
    const params = {};
    for (const [name, spec, input] of inputs) {
      if (spec.type === "boolean") params[name] = input.checked;
      else if (input.value !== "" || (spec.required && spec.type === "string")) params[name] = spec.type === "string" ? input.value : Number(input.value);
    }
    told.textContent = "asking";
    const body = JSON.stringify({ source_id: source, command, params });
    try {
      const answer = await fetch("/api/commands", { method: "POST", headers: { "x-api-key": this.key.value }, body });
      const found = await answer.json();
      if (answer.ok) this.takeRun({ ...found.run, ...this.runs.get(found.run.run_id) });
      told.textContent = answer.ok ? "" : found.message;
    } catch {
      told.textContent = "the gateway does not answer";
    }
  }
}

// The newest picture of each camera.
export class Pictures {
  constructor(room, make) {
    this.room = room;
    this.make = make;
    this.cards = new Map();
  }

  take(message) {
    const key = JSON.stringify([message.source_id, message.camera_id]);
    let card = this.cards.get(key);
    if (!card) {
      card = { source: message.source_id, figure: this.make("figure", "picture"), image: this.make("img") };
      const name = `${message.source_id}  ${message.camera_id}`;
      card.image.alt = name;
      card.figure.append(card.image, this.make("figcaption", "seen", name));
      this.cards.set(key, card);
      this.room.append(card.figure);
    }
    card.image.src = `data:image/jpeg;base64,${message.frame}`;
  }

  draw(chosen) {
    for (const card of this.cards.values()) card.figure.hidden = chosen !== null && card.source !== chosen;
    this.room.hidden = !this.cards.size;
  }
}
