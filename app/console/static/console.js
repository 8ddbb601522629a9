"use strict";
// A question before what cannot be taken back.
document.addEventListener("submit", (event) => {
  const question = event.target.dataset.confirm;
  if (question && !window.confirm(question)) event.preventDefault();
});
// A file that is too large is not sent for nothing, and a form that takes its time says so.
document.addEventListener("change", (event) => {
  const field = event.target;
  if (!field.dataset?.most) return;
  const large = [...field.files].some((file) => file.size > Number(field.dataset.most));
  field.setCustomValidity(large ? "This file is larger than an upload may be." : "");
  field.reportValidity();
});
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.dataset.busy || event.defaultPrevented) return;
  const button = form.querySelector("button");
  button.disabled = true;
  button.textContent = form.dataset.busy;
});
// One click copies a command.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const text = document.getElementById(button.dataset.copy).textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Select and copy";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
});
document.addEventListener("DOMContentLoaded", () => {
  const area = navigator.clipboard ? document.querySelectorAll("[data-copy][hidden]") : [];
  for (const button of area) button.hidden = false;
});
// A page that nobody looks at does not ask.
document.addEventListener("htmx:beforeRequest", (event) => {
  if (document.hidden) event.preventDefault();
});
// A list that was scrolled stays where it was when it comes anew.
let scrolled = 0;
document.addEventListener("htmx:beforeSwap", () => {
  scrolled = document.querySelector(".events")?.scrollTop ?? 0;
});
document.addEventListener("htmx:afterSwap", () => {
  const list = document.querySelector(".events");
  if (list) list.scrollTop = scrolled;
});
// What was typed in a long form is there again after a session that ended in the middle of it.
const TYPED = "typed";
const entered = (form) => [...new FormData(form)].filter(([name]) => name !== "csrf_token");
function keepTyped(event) {
  const form = event.target.closest?.("form[data-keep]");
  if (form) sessionStorage.setItem(TYPED + form.dataset.keep, JSON.stringify(entered(form)));
}
document.addEventListener("input", keepTyped);
document.addEventListener("change", keepTyped);
function fill(form, typed) {
  for (const field of form.querySelectorAll("[name]:not([type=hidden])")) {
    const values = typed.filter(([name]) => name === field.name).map(([, value]) => value);
    if (field.type === "checkbox") field.checked = values.includes(field.value);
    else if (values.length) field.value = values[0];
    if (values[0] && field.type !== "checkbox") field.closest("details")?.setAttribute("open", "");
  }
}
document.addEventListener("DOMContentLoaded", () => {
  if (location.pathname === "/console/sign-in") sessionStorage.setItem("signed-in-again", "yes");
  const form = document.querySelector("form[data-keep]");
  if (!form) return;
  const kept = sessionStorage.getItem(TYPED + form.dataset.keep);
  sessionStorage.removeItem(TYPED + form.dataset.keep);
  if (!kept || !sessionStorage.getItem("signed-in-again")) return;
  sessionStorage.removeItem("signed-in-again");
  const typed = JSON.parse(kept);
  fill(form, typed);
  // The method decides some of the fields, which come now.
  form.addEventListener("htmx:afterSwap", function again(event) {
    if (event.target.id !== "method") return;
    form.removeEventListener("htmx:afterSwap", again);
    fill(form, typed);
  });
  (document.getElementById("f-method") ?? form).dispatchEvent(new Event("change", { bubbles: true }));
});
document.addEventListener("submit", (event) => {
  if (event.target.matches(".who")) sessionStorage.clear();  // who comes next is somebody else
});
