"use strict";
/* The answers of a run: filtered, sorted, searched and opened. All text enters the page as text (textContent). */
(() => {
  const ROW = 34, MARGIN = 12;
  const HIDDEN = "hidden; open the answer to read it";
  const $ = (id) => document.getElementById(id);
  const make = (tag, text, className) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (className) element.className = className;
    return element;
  };

  async function unpacked(element) {
    const bytes = Uint8Array.from(atob(element.textContent.trim()), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return JSON.parse(await new Response(stream).text());
  }

  let index, columns, view = [], active = 0, sort = { by: "", down: false }, turn = 0, opened = -1;
  const cache = new Map();
  const texts = async (row) => {
    const number = Math.floor(row / index.chunk);
    if (!cache.has(number)) cache.set(number, unpacked($(`answers-texts-${number}`)));
    return (await cache.get(number))[row % index.chunk];
  };

  /* ---- what is asked for ---- */
  const FIELDS = ["task", "against", "group", "status", "measured", "change", "pair", "score", "from", "to", "search"];
  const control = (name) => $(`answers-${name}`);
  const asked = () => Object.fromEntries(FIELDS.map((name) => [name, control(name).value.trim()]));

  function options(name, first, values) {
    const select = control(name), before = select.value;
    select.replaceChildren(new Option(first, ""), ...values.map(([value, words]) => new Option(words, value)));
    if (values.some(([value]) => value === before)) select.value = before;
    select.closest("label").hidden = values.length === 0;
  }

  const tasksAsked = () => index.tasks.filter((t) => !control("task").value || t.name === control("task").value);

  /* Choices of the other filters, which depend on the task. */
  function choices() {
    const tasks = tasksAsked(), numbers = new Set(tasks.map((t) => index.tasks.indexOf(t)));
    const once = (pairs) => [...new Map(pairs).entries()];
    const rates = once(tasks.flatMap((t) => t.rates.map((r) => [r.name, r.words])));
    options("against", "any answer", rates.length ? [["any", "any rate"], ...rates, ["none", "no rate"]] : []);
    const statuses = new Set(), groups = new Map();
    columns.task.forEach((task, row) => {
      if (!numbers.has(task)) return;
      statuses.add(index.statuses[columns.status[row]]);
      for (const [axis, group] of index.groups[columns.group[row]]) groups.set(`${axis}|${group}`, `${axis}: ${group}`);
    });
    const answered = [...statuses].some((s) => index.answered.includes(s));
    const named = [...statuses].sort().filter(Boolean).map((s) => [s, s.replaceAll("_", " ")]);
    options("status", "any", answered ? [["answered", "answered in any way"], ...named] : named);
    options("group", "any", [...groups.entries()].sort((a, b) => (a[1] < b[1] ? -1 : 1)));
    options("score", "none", once(tasks.flatMap((t) => t.scores.map((s) => [s, s.replaceAll("_", " ")]))));
    for (const name of ["from", "to"]) control(name).closest("label").hidden = !control("score").value;
  }

  const rateOf = (task, name) => task.rates.findIndex((r) => r.name === name);
  const countedFor = (combination, task, name) => {
    const counted = index.counted[combination];
    if (!name || name === "any") return counted.length > 0;
    return name === "none" ? counted.length === 0 : counted.includes(rateOf(task, name));
  };

  /* The tests that a row must pass: only those that were asked for, the cheapest first. */
  function tests(q) {
    const list = [], c = columns, number = index.tasks.findIndex((t) => t.name === q.task);
    const value = q.score && c.values[q.score], task = (row) => index.tasks[c.task[row]];
    if (q.task) list.push((row) => c.task[row] === number);
    if (q.status === "answered") {
      const wanted = new Set(index.answered.map((s) => index.statuses.indexOf(s)));
      list.push((row) => wanted.has(c.status[row]));
    } else if (q.status) {
      const wanted = index.statuses.indexOf(q.status);
      list.push((row) => c.status[row] === wanted);
    }
    if (q.group) {
      const wanted = index.groups.map((pairs) => pairs.some(([axis, group]) => `${axis}|${group}` === q.group));
      list.push((row) => wanted[c.group[row]]);
    }
    if (q.against) list.push((row) => countedFor(c.against[row], task(row), q.against));
    if (q.measured) list.push((row) => c.missing[row] === (q.measured === "missing" ? 1 : 0));
    if (q.pair) list.push((row) => index.pairs[c.pair[row]] !== "");
    if (value && q.from !== "") list.push((row) => value[row] !== null && value[row] >= Number(q.from));
    if (value && q.to !== "") list.push((row) => value[row] !== null && value[row] <= Number(q.to));
    if (q.change) {
      const rate = q.against === "none" ? "any" : q.against;
      list.push((row) => {
        if (c.was[row] < 0) return q.change === "alone";
        const now = countedFor(c.against[row], task(row), rate), was = countedFor(c.was[row], task(row), rate);
        return q.change === (now === was ? "same" : now ? "new" : "gone");
      });
    }
    return list;
  }

  const said = (words) => { $("answers-count").textContent = words; };

  async function refresh(push) {
    const mine = ++turn, q = asked(), list = tests(q), rows = [];
    for (let row = 0; row < columns.task.length; row++) if (list.every((test) => test(row))) rows.push(row);
    const kept = q.search ? await searched(rows, q.search.toLowerCase(), mine) : rows;
    if (mine !== turn) return;
    view = kept;
    sorted(q);
    active = 0;
    $("answers-rows").scrollTop = 0;
    const of = columns.task.length.toLocaleString("en");
    said(view.length ? `${view.length.toLocaleString("en")} of ${of} answers` : `None of the ${of} answers fits.`);
    $("answers-rows").setAttribute("aria-rowcount", String(view.length + 1));
    $("answers-size").style.height = `${view.length * ROW}px`;
    draw();
    if (push) linked();
  }

  /* The address says what is shown, so that it can be sent to somebody. */
  function linked() {
    const q = asked(), words = FIELDS.filter((name) => q[name]).map((name) => `${name}=${encodeURIComponent(q[name])}`);
    history.replaceState(null, "", `#answers${words.length ? "?" + words.join("&") : ""}`);
  }

  async function searched(rows, wanted, mine) {
    const kept = [];
    for (let i = 0; i < rows.length; i++) {
      const [prompt, answer] = await texts(rows[i]);
      const names = `${columns.id[rows[i]]}\n${index.pairs[columns.pair[rows[i]]]}`;
      if (`${names}\n${prompt}\n${answer}`.toLowerCase().includes(wanted)) kept.push(rows[i]);
      if (i % 5000 === 4999) {
        said(`Searching: ${Math.round((100 * i) / rows.length)}%`);
        await new Promise((done) => setTimeout(done));
        if (mine !== turn) return kept;
      }
    }
    return kept;
  }

  function sorted(q) {
    const c = columns, flags = (row) => index.counted[c.against[row]].length;
    const by = {
      task: (row) => c.task[row],
      id: (row) => c.id[row],
      group: (row) => groupWords(row),
      status: (row) => index.statuses[c.status[row]],
      against: flags,
      score: (row) => (q.score ? c.values[q.score][row] : null),
    }[sort.by];
    for (const head of $("answers-heads").children) {
      const mine = head.dataset.sort === sort.by;
      head.setAttribute("aria-sort", mine ? (sort.down ? "descending" : "ascending") : "none");
    }
    if (!by) return;
    const keys = new Map(view.map((row) => [row, by(row)])), sign = sort.down ? -1 : 1;
    view.sort((a, b) => {
      const x = keys.get(a), y = keys.get(b);
      if (x === null || y === null) return (x === null) - (y === null) || a - b; /* no value stands last */
      return x < y ? -sign : x > y ? sign : a - b;
    });
  }

  /* ---- the list: only the rows in sight exist ---- */
  const groupWords = (row) => index.groups[columns.group[row]].map(([, group]) => group.replaceAll("_", " ")).join(", ");
  const countedWords = (combination, row) =>
    index.counted[combination].map((i) => index.tasks[columns.task[row]].rates[i].words).join("; ");
  const scoreWords = (row) => {
    const name = control("score").value, value = name ? columns.values[name][row] : null;
    return value === null ? "" : String(value);
  };

  function line(place) {
    const row = view[place], element = make("div", undefined, "row");
    element.id = `answers-row-${place}`;
    element.setAttribute("role", "row");
    element.setAttribute("aria-rowindex", String(place + 2));
    element.classList.toggle("active", place === active);
    element.classList.toggle("flagged", index.counted[columns.against[row]].length > 0);
    element.style.transform = `translateY(${place * ROW}px)`;
    const sample = columns.sample[row] ? ` (${columns.sample[row] + 1})` : "";
    const cells = [
      [index.tasks[columns.task[row]].title, "task"], [columns.id[row] + sample, "id"], [groupWords(row), "group"],
      [index.statuses[columns.status[row]].replaceAll("_", " "), "status"],
      [countedWords(columns.against[row], row), "against"], [scoreWords(row), "score"],
    ];
    for (const [text, name] of cells) {
      const cell = make("span", text, name);
      cell.setAttribute("role", "gridcell");
      cell.title = text;
      element.append(cell);
    }
    if ($("answers-show").checked) {
      const snippet = make("span", "…", "text");
      snippet.setAttribute("role", "gridcell");
      element.append(snippet);
      texts(row).then(([prompt, answer]) => { snippet.textContent = `${prompt} → ${answer}`.slice(0, 300); });
    }
    element.addEventListener("click", () => { active = place; open(row, true); });
    return element;
  }

  const height = () => $("answers-rows").clientHeight - $("answers-top").offsetHeight;

  function draw() {
    const box = $("answers-rows");
    box.classList.toggle("no-score", control("score").value === "");
    box.classList.toggle("no-text", !$("answers-show").checked);
    const first = Math.max(0, Math.floor(box.scrollTop / ROW) - MARGIN);
    const last = Math.min(view.length, Math.ceil((box.scrollTop + height()) / ROW) + MARGIN);
    const lines = [];
    for (let place = first; place < last; place++) lines.push(line(place));
    $("answers-size").replaceChildren(...lines);
    if (view.length) box.setAttribute("aria-activedescendant", `answers-row-${active}`);
    else box.removeAttribute("aria-activedescendant");
  }

  function move(to) {
    const box = $("answers-rows");
    active = Math.max(0, Math.min(view.length - 1, to));
    if (active * ROW < box.scrollTop) box.scrollTop = active * ROW;
    if ((active + 1) * ROW > box.scrollTop + height()) box.scrollTop = (active + 1) * ROW - height();
    draw();
  }

  function keys(event) {
    if (event.target !== $("answers-rows")) return;
    const page = Math.max(1, Math.floor(height() / ROW) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -view.length, End: view.length };
    if (event.key in steps) move(active + steps[event.key]);
    else if ((event.key === "Enter" || event.key === " ") && view.length) open(view[active], true);
    else return;
    event.preventDefault();
  }

  /* ---- one answer ---- */
  function facts(row) {
    const list = make("dl", undefined, "facts"), c = columns;
    const was = c.was[row] < 0 ? "" : countedWords(c.was[row], row) || "nothing";
    const pairs = [
      ["About", index.groups[c.group[row]].map(([axis, group]) => `${axis}: ${group}`).join("; ")],
      ["Status", index.statuses[c.status[row]]],
      ["Counted against the model", countedWords(c.against[row], row) || "nothing"],
      ...(was ? [[`Counted against ${index.baseline}`, was]] : []),
    ];
    for (const [name, words] of pairs) if (words) list.append(make("dt", name), make("dd", words));
    return list;
  }

  async function told(row, heading, shown) {
    const part = make("div", undefined, "told"), [prompt, answer, scores, before, beforeScores] = await texts(row);
    const block = (name, text) => {
      const pre = make("pre", shown ? text : HIDDEN, shown ? "" : "soft");
      pre.tabIndex = 0;
      part.append(make("div", name, "fine"), pre);
    };
    if (heading) part.append(make("h3", heading));
    block("Asked", prompt);
    block(index.baseline ? "Answered by this model" : "Answered", answer);
    part.append(make("div", scores, "fine"));
    if (before !== undefined) {
      block(`Answered by ${index.baseline}`, before);
      part.append(make("div", beforeScores, "fine"));
    }
    return part;
  }

  async function open(row, shown) {
    opened = row;
    const c = columns, box = $("answer"), body = $("answer-body");
    const sample = c.sample[row] ? `, answer ${c.sample[row] + 1}` : "";
    $("answer-title").textContent = `${index.tasks[c.task[row]].title}: ${c.id[row]}${sample}`;
    const same = index.pairs[c.pair[row]]
      ? c.pair.flatMap((pair, i) => (i !== row && pair === c.pair[row] && c.task[i] === c.task[row] ? [i] : [])) : [];
    const twins = same.filter((i) => c.sample[i] === c.sample[row]).slice(0, 6);
    const heading = (i) => `Twin: ${c.id[i]} (${index.statuses[c.status[i]] || "no status"})`;
    const parts = await Promise.all([told(row, twins.length ? "This answer" : "", shown),
      ...twins.map((i) => told(i, heading(i), shown))]);
    if (opened !== row) return;
    const beside = make("div", undefined, "beside");
    beside.append(...parts);
    body.replaceChildren(facts(row), beside);
    $("answer-reveal").hidden = shown;
    if (!box.open) box.showModal();
    $(shown ? "answer-close" : "answer-reveal").focus();
    history.replaceState(null, "", `#answer=${c.keys[row]}`);
  }

  function step(by) {
    const place = view.indexOf(opened) + by;
    if (place < 0 || place >= view.length) return;
    move(place);
    open(view[place], $("answer-reveal").hidden);
  }

  /* ---- links: #answers?task=..., #answer=KEY ---- */
  function ask(words) {
    const wanted = new URLSearchParams(words);
    for (const name of FIELDS) control(name).value = "";
    control("task").value = wanted.get("task") ?? "";
    choices();
    for (const name of FIELDS) if (wanted.has(name)) control(name).value = wanted.get(name);
    for (const name of ["against", "group", "status", "score"]) if (control(name).selectedIndex < 0) control(name).value = "";
    choices();
  }

  async function follow() {
    const link = decodeURIComponent(location.hash.match(/^#answer=([0-9a-f]+)$/)?.[1] ?? "");
    const words = location.hash.match(/^#answers\?(.*)$/)?.[1];
    if (link) {
      const row = columns.keys.findIndex((key) => link.startsWith(key) || (link.length >= 8 && key.startsWith(link)));
      $("answers").scrollIntoView();
      if (row < 0) said("The answer that the link names is not in this run.");
      else await open(row, false);
    } else if (words !== undefined) {
      ask(words);
      await refresh(false);
      $("answers").scrollIntoView();
      $("answers-rows").focus({ preventScroll: true });
    }
  }

  function wire() {
    let waiting = 0;
    for (const name of FIELDS) {
      const late = control(name).tagName === "INPUT";
      control(name).addEventListener(late ? "input" : "change", () => {
        clearTimeout(waiting);
        if (!late) choices();
        waiting = setTimeout(() => refresh(true), late ? 200 : 0);
      });
    }
    for (const head of $("answers-heads").children) {
      head.querySelector("button")?.addEventListener("click", () => {
        sort = { by: head.dataset.sort, down: sort.by === head.dataset.sort ? !sort.down : head.dataset.sort === "against" };
        refresh(false);
      });
    }
    for (const link of document.querySelectorAll("a[data-answers]"))
      link.addEventListener("click", (event) => {
        event.preventDefault();
        const wanted = `#answers?${link.dataset.answers}`;
        if (location.hash === wanted) follow();
        else location.hash = wanted;
      });
    $("answers-rows").addEventListener("scroll", () => requestAnimationFrame(draw));
    $("answers-rows").addEventListener("keydown", keys);
    $("answers-show").addEventListener("change", draw);
    $("answers-clear").addEventListener("click", () => { ask(""); sort = { by: "", down: false }; refresh(true); });
    $("answer-reveal").addEventListener("click", () => open(opened, true));
    $("answer-close").addEventListener("click", () => $("answer").close());
    $("answer-next").addEventListener("click", () => step(1));
    $("answer-previous").addEventListener("click", () => step(-1));
    $("answer").addEventListener("close", () => {
      opened = -1;
      $("answer-body").replaceChildren();
      linked();
      $("answers-rows").focus({ preventScroll: true });
    });
    addEventListener("hashchange", follow);
    addEventListener("resize", draw);
  }

  async function start() {
    index = await unpacked($("answers-index"));
    columns = index.columns;
    options("task", "all", index.tasks.map((t) => [t.name, t.title]));
    options("change", "any", index.baseline ? [["new", "newly counted against the model"], ["gone", "no longer counted"],
      ["same", "counted as before"], ["alone", "not in the other run"]] : []);
    options("pair", "any", index.pairs.some(Boolean) ? [["any", "has a twin"]] : []);
    choices();
    wire();
    document.documentElement.classList.add("scripted");
    await refresh(false);
    await follow();
  }
  start();
})();
