// The page of the log: records as they are written, the newest at the end. Reads /logs; what it missed while away comes after.
const KEPT = 2000;
const lines = document.getElementById("lines");
const state = document.getElementById("state");
const level = document.getElementById("level");
const text = document.getElementById("text");
let source = null;

function shown(line) {
  line.hidden = !line.textContent.toLowerCase().includes(text.value.toLowerCase());
}

function add(record) {
  const atEnd = innerHeight + scrollY >= document.documentElement.scrollHeight - 40;
  const line = document.createElement("li");
  line.className = record.level;
  const facts = [record.at.replace("T", " ").slice(0, 19), record.level, record.camera === "-" ? record.event : record.camera, record.message];
  for (const fact of facts) line.append(Object.assign(document.createElement("span"), { textContent: fact }));
  shown(line);
  lines.append(line);
  while (lines.children.length > KEPT) lines.firstChild.remove();
  if (atEnd) scrollTo(0, document.documentElement.scrollHeight);
}

function follow() {
  source?.close();
  lines.replaceChildren();
  const opened = (source = new EventSource(`/logs?lines=500&level=${level.value}`));
  opened.onopen = () => (state.textContent = "live");
  opened.onmessage = (event) => add(JSON.parse(event.data));
  opened.onerror = async () => {
    state.textContent = "connecting…";
    if (opened.readyState !== EventSource.CLOSED) return;
    const answer = await fetch("/logs?lines=0").catch(() => null);
    if (answer?.status === 401) {
      state.innerHTML = '<a href="/">Log in</a> first';
    } else {
      setTimeout(() => opened === source && follow(), 5000); // it was refused for the moment
    }
  };
}

level.onchange = follow;
text.oninput = () => [...lines.children].forEach(shown);
follow();
