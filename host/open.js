// Shows the workflow that was named on the command line: `spacetime edit FILE` opens /?file=NAME.
import { app } from "/scripts/app.js";

const name = new URLSearchParams(location.search).get("file");

app.registerExtension({
  name: "Spacetime.Open",
  async setup() {
    if (!name) return;
    const answer = await fetch("/api/spacetime/opened");
    if (answer.status !== 200) return;
    const file = new File([await answer.blob()], name);
    // the editor restores its last session after the extensions' setup; ours comes on top of that
    for (let i = 0; i < 100 && !app.extensionManager?.workflow?.activeWorkflow; i++) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    await app.handleFile(file);
    history.replaceState(null, "", location.pathname); // a reload keeps what was changed since
    app.extensionManager.command.execute("Comfy.Canvas.FitView");
  },
});
