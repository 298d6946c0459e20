-- luacheck --config wireshark/luacheck.lua wireshark/socks5.lua
std = "min"
max_line_length = 120
read_globals = {
  "ByteArray", "DESEGMENT_ONE_MORE_SEGMENT", "Dissector", "DissectorTable", "Field", "Listener", "MENU_STAT_UNSORTED",
  "NSTime", "Pref", "apply_filter", "new_dialog", "set_filter", "Proto", "ProtoExpert", "ProtoField", "TextWindow", "base", "expert", "frametype",
  "get_preference", "gui_enabled", "register_menu", "register_stat_cmd_arg", "retap_packets", "set_plugin_info",
}
