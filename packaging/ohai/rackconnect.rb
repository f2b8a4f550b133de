# Ohai plugin: a folder of Ohai's plugin_path, such as /etc/chef/ohai/plugins/rackconnect.rb. Seen as node["rackconnect"],
# for example node["rackconnect"]["status"]["value"]. Asks the API; add --no-api to ask nothing of the network.
require "json"

Ohai.plugin(:RackConnectAgent) do
  provides "rackconnect"

  collect_data(:linux) do
    begin
      facts = shell_out("rackconnect -q facts", timeout: 10)
      if facts.exitstatus == 0
        rackconnect Mash.new
        JSON.parse(facts.stdout).each { |name, fact| rackconnect[name] = fact }
      end
    rescue Ohai::Exceptions::Exec, JSON::ParserError => e
      logger.debug("rackconnect facts: #{e.message}")
    end
  end
end
