# Ohai plugin. Install it in a directory of Ohai's plugin_path, for example as
# /etc/chef/ohai/plugins/rackconnect.rb. It provides node["rackconnect"], for example
# node["rackconnect"]["status"]["value"]. It asks the API; add --no-api to send no request.
require "json"

Ohai.plugin(:RackConnectAgent) do
  provides "rackconnect"

  collect_data(:linux) do
    # The attribute always exists. If the program printed no object, it holds the reason.
    rackconnect Mash.new
    begin
      facts = shell_out("rackconnect -q facts", timeout: 10)
      JSON.parse(facts.stdout).each { |name, fact| rackconnect[name] = fact }
    rescue Ohai::Exceptions::Exec, JSON::ParserError => e
      rackconnect["reason"] = "rackconnect facts printed no object"
      logger.debug("rackconnect facts: #{e.message}")
    end
  end
end
