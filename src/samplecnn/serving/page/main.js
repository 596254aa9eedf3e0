// The page of `samplecnn serve`.

import { start } from "./app.js";
import { openServer } from "./server.js";

openServer().then(start, error => {
  const problem = document.getElementById("problem");
  problem.textContent = error.message;
  problem.hidden = false;
  for (const id of ["choose", "record", "listen"]) document.getElementById(id).disabled = true;
});
