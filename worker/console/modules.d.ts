declare module "virtual:player-templates" {
  const templates: readonly string[];
  export default templates;
}
