// The vendor's Node SDKs as a bot: it posts a card and a file, opens a form when pressed, and redraws the card.
const { LogLevel, SocketModeClient } = require("@slack/socket-mode");
const { WebClient } = require("@slack/web-api");

const [, , slackApiUrl] = process.argv;
const { APP_TOKEN: appToken, BOT_TOKEN: botToken } = process.env;
const tell = (kind, data) => console.log(JSON.stringify({ kind, data }));
const quiet = { slackApiUrl, logLevel: LogLevel.ERROR, retryConfig: { retries: 0 } };
const web = new WebClient(botToken, quiet);
const logLevel = LogLevel.ERROR;
const socket = new SocketModeClient({ appToken, logLevel, clientPingTimeout: 300, clientOptions: quiet });
const plain = (text) => ({ type: "plain_text", text });
const card = (text) => [
  { type: "actions", elements: [{ type: "button", action_id: "go", value: "ok", text: plain(text) }] },
];
const view = {
  type: "modal",
  callback_id: "form",
  title: plain("form"),
  submit: plain("send"),
  blocks: [
    { type: "input", block_id: "why", label: plain("why"), element: { type: "plain_text_input", action_id: "v" } },
  ],
};
socket
  .on("app_mention", async ({ event: { user, text, channel }, ack }) => {
    await ack();
    tell("message", { text, from: user });
    const sent = await web.chat.postMessage({ channel, text: "echo", blocks: card("OK") });
    const file = { channel_id: channel, filename: "a.txt", file: Buffer.alloc(9_000, "1") };
    await web.filesUploadV2({ ...file, initial_comment: "for you" });
    tell("sent", sent.ts);
  })
  .on("slash_commands", async ({ body, ack }) => {
    await ack({ text: `${body.command} ${body.text}` });
  })
  .on("interactive", async ({ body, ack }) => {
    if (body.type === "view_submission") {
      await ack({ response_action: "errors", errors: { why: "too short" } });
      tell("form", body.view.state.values.why.v.value);
      return;
    }
    await ack();
    await web.views.open({ trigger_id: body.trigger_id, view });
    const { channel, message } = body;
    await web.chat.update({ channel: channel.id, ts: message.ts, text: "done", blocks: card("OK ✓") });
    tell("press", body.actions[0].value);
  });
socket.start().catch((error) => tell("refused", error.data.error));
