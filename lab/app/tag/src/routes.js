// SPDX-License-Identifier: GPL-3.0-or-later
/** @type {Record<string, (service: import("./service.js").Service, query: URLSearchParams, body: any) => any>} */
export const routes = {
  "GET /messages": (service, query) => service.company(query.get("company")).messages,
  "POST /send": (service, _query, { company, to, text }) => service.company(company).send(to, text),
};
