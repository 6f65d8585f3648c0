// A React application whose router has twenty pages and an address that moved.

import { createRoot } from "react-dom/client";
import { BrowserRouter, Link, Navigate, Route, Routes, useParams } from "react-router";

function Page() {
  const number = Number(useParams().number);
  return (
    <Link id="next" to={`/react/${number + 1}`}>
      page {number}
    </Link>
  );
}

createRoot(document.getElementById("root")).render(
  <BrowserRouter>
    <Link id="moved" to="/react/old">
      moved
    </Link>
    <Routes>
      <Route path="/react/old" element={<Navigate replace to="/react/new" />} />
      <Route path="/react/new" element={<p>new</p>} />
      <Route path="/react/:number" element={<Page />} />
    </Routes>
  </BrowserRouter>,
);
