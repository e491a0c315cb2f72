// The vendor's Node SDK as a bot: it tells what it hears, and answers presses on the card.
const axios = require("axios");
const { DWClient, TOPIC_ROBOT, TOPIC_CARD } = require("dingtalk-stream");

// The SDK knows one address; only that is changed.
const [, , base, clientId] = process.argv;
axios.interceptors.request.use((config) => {
  config.url = config.url.replace("https://api.dingtalk.com", base);
  return config;
});
const tell = (kind, data) => console.log(JSON.stringify({ kind, data }));
const client = new DWClient({ clientId, clientSecret: process.env.APP_SECRET, keepAlive: true });
client
  .registerCallbackListener(TOPIC_ROBOT, (frame) => {
    const message = JSON.parse(frame.data);
    tell("message", { text: message.text.content.trim(), from: message.senderStaffId });
    client.socketCallBackResponse(frame.headers.messageId, "OK");
  })
  .registerCallbackListener(TOPIC_CARD, (frame) => {
    const press = JSON.parse(frame.data);
    tell("press", JSON.parse(press.content).cardPrivateData.params.action);
    client.socketCallBackResponse(frame.headers.messageId, {
      cardUpdateOptions: { updatePrivateDataByKey: true },
      userPrivateData: { cardParamMap: { notice: "from node" } },
    });
  })
  .connect();
