
"use strict";

const end = document.querySelector("time[data-ends]");
if (end) {
  const label = document.getElementById("until");
  const two = (number) => String(number).padStart(2, "0");
  const show = () => {
    const left = Math.ceil((Number(end.dataset.ends) - Date.now()) / 1000);
    const hours = Math.floor(left / 3600);
    const clock = two(Math.floor(left / 60) % 60) + ":" + two(left % 60);
    label.textContent = left > 0 ? "Good for another" : "This pass has";
    end.textContent = left > 0 ? (hours > 0 ? hours + ":" + clock : clock) : "run out";
  };
  show();
  setInterval(show, 1000);
}

const state = document.getElementById("state");
const talk = document.getElementById("talk");
const say = document.getElementById("say");
const send = document.querySelector("#echo button");
const asked = [];
let socket;

const open = () => {
  state.textContent = "connecting";
  socket = new WebSocket(location.origin.replace(/^http/, "ws") + "/echo");
  socket.onopen = () => live(true, "connected");
  socket.onclose = () => { asked.length = 0; live(false, "closed"); };
  socket.onmessage = (event) => {
    const line = document.createElement("li");
    const time = document.createElement("span");
    line.append(event.data);
    time.textContent = (performance.now() - asked.shift()).toFixed(1) + " ms";
    line.append(time);
    talk.prepend(line);
    while (talk.children.length > 5) { talk.lastChild.remove(); }
  };
};

const live = (isLive, text) => {
  state.textContent = text;
  state.classList.toggle("live", isLive);
  say.disabled = !isLive;
  send.disabled = false;
  send.textContent = isLive ? "Send" : "Connect";
};

document.querySelector("#echo form").onsubmit = (event) => {
  event.preventDefault();
  if (socket.readyState !== WebSocket.OPEN) { open(); return; }
  if (say.value === "") { return; }
  asked.push(performance.now());
  socket.send(say.value);
  say.value = "";
};

open();
